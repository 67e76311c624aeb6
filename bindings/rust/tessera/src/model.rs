//! Models: loading, what they are, their tokenizer and chat template.

use std::borrow::Cow;
use std::fmt;
use std::mem::{size_of, zeroed};
use std::ops::BitOr;
use std::os::raw::c_char;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::AsRawFd;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use tessera_sys as sys;

use crate::chat::Chat;
use crate::error::{call, fill, Error, Result, Status};
use crate::handle::{bytes, ModelHandle};
use crate::runtime::Runtime;
use crate::settings::{ChatOptions, ModelOptions};
use crate::source::{reader_table, Source};
use crate::Token;

/// How text becomes tokens and tokens become text; or-ed together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TextFlags(i32);

impl TextFlags {
    /// Text is text: "<|im_end|>" is ten characters. For what users typed.
    pub const PLAIN: Self = Self(sys::TSR_TEXT_PLAIN);
    /// Special tokens written in the text become those tokens; rendered, they show.
    pub const PARSE_SPECIAL: Self = Self(sys::TSR_TEXT_PARSE_SPECIAL);
    /// Begin- and end-of-text tokens are added where the file asks for them.
    pub const ADD_SPECIAL: Self = Self(sys::TSR_TEXT_ADD_SPECIAL);

    pub(crate) fn bits(self) -> i32 {
        self.0
    }
}

impl BitOr for TextFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Weights, a shared table counted once.
    pub parameters: i64,
    /// Memory that its weights take, where it lies.
    pub weight_bytes: u64,
    /// Stored weight bytes that one decoded token must read.
    pub bytes_per_token: u64,
    /// Token ids are 0 to `vocabulary_size` - 1.
    pub vocabulary_size: i32,
    /// The context it was trained for.
    pub context_tokens: i32,
    /// Decoder layers.
    pub layers: i32,
    /// Width of the residual stream.
    pub hidden_size: i32,
    /// Begin-of-text.
    pub bos_token: Option<Token>,
    /// The token that ends a turn.
    pub end_token: Option<Token>,
    /// Of its shape and all its weights, as the file has them; names play no part.
    pub hash: [u8; 16],
    /// Of its tokenizer; chat templates play no part.
    pub tokenizer_hash: [u8; 16],
    /// Where it lies: "cpu", "reference" or a GPU's name.
    pub device: String,
    /// The GPU's, as "GPU-..."; "" for others.
    pub device_uuid: String,
    /// All memory of that GPU; 0 for others.
    pub device_memory_bytes: u64,
}

/// A metadata entry of the file; a scalar is a list of one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Metadata {
    /// All integer types and booleans.
    Int(Vec<i64>),
    /// Floating-point numbers.
    Float(Vec<f64>),
    /// Bytes as the file has them, usually UTF-8.
    String(Vec<Vec<u8>>),
}

struct Inner {
    handle: ModelHandle,
    runtime: Runtime,
}

/// A model file (GGUF v2 or v3) that was read, checked and laid out for a device. Immutable; clones are the same
/// model, and any number of engines share its weights.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl Model {
    /// Loads a model from a file onto the CPU.
    pub fn load(runtime: &Runtime, path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(runtime, path.as_ref(), &ModelOptions::new())
    }

    /// Loads a model; blocks until it is loaded.
    pub fn load_with<'a>(
        runtime: &Runtime,
        source: impl Into<Source<'a>>,
        options: &ModelOptions,
    ) -> Result<Self> {
        let built = options.0.build()?;
        let (raw, settings) = (runtime.raw(), built.get());
        let result = match source.into() {
            Source::Path(path) => {
                let path = path.as_os_str().as_bytes();
                let (data, size) = (path.as_ptr().cast(), path.len());
                ModelHandle::create(|out, error| unsafe {
                    sys::tsr_model_load_file(raw, data, size, settings, out, error)
                })
            }
            Source::File { file, offset, size_bytes } => {
                let file = file.as_raw_fd();
                ModelHandle::create(|out, error| unsafe {
                    sys::tsr_model_load_descriptor(raw, file, offset, size_bytes, settings, out, error)
                })
            }
            Source::Bytes(bytes) => load_memory(raw, bytes, sys::TSR_MEMORY_COPY, settings),
            Source::Static(bytes) => load_memory(raw, bytes, sys::TSR_MEMORY_BORROW, settings),
            Source::Reader(reader) => {
                let table = reader_table(reader, &built.caught)?;
                ModelHandle::create(|out, error| unsafe {
                    sys::tsr_model_load_reader(raw, &table, settings, out, error)
                })
            }
        };
        let handle = built.caught.explain(result)?;
        Ok(Self(Arc::new(Inner { handle, runtime: runtime.clone() })))
    }

    /// The runtime that it was loaded in.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn raw(&self) -> *mut sys::tsr_model {
        self.0.handle.get()
    }

    /// What it is.
    pub fn info(&self) -> Result<ModelInfo> {
        // SAFETY: all fields are integers.
        let mut raw: sys::tsr_model_info = unsafe { zeroed() };
        raw.struct_size = size_of::<sys::tsr_model_info>();
        call(|error| unsafe { sys::tsr_model_get_info(self.raw(), &mut raw, error) })?;
        Ok(ModelInfo {
            parameters: raw.parameters,
            weight_bytes: raw.weight_bytes,
            bytes_per_token: raw.bytes_per_token,
            vocabulary_size: raw.vocabulary_size,
            context_tokens: raw.context_tokens,
            layers: raw.layers,
            hidden_size: raw.hidden_size,
            bos_token: Some(raw.bos_token).filter(|token| *token >= 0),
            end_token: Some(raw.end_token).filter(|token| *token >= 0),
            hash: raw.hash,
            tokenizer_hash: raw.tokenizer_hash,
            device: terminated(&raw.device),
            device_uuid: terminated(&raw.device_uuid),
            device_memory_bytes: raw.device_memory_bytes,
        })
    }

    /// The keys of the file's metadata, in file order.
    pub fn metadata_keys(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> + '_ {
        let count = unsafe { sys::tsr_model_metadata_count(self.raw()) };
        (0..count).map(move |index| {
            let mut size = 0;
            // SAFETY: keys are valid as long as the model.
            let key =
                unsafe { bytes(sys::tsr_model_metadata_key(self.raw(), index, &mut size).cast(), size) };
            String::from_utf8_lossy(key)
        })
    }

    /// A metadata entry; [`Status::NotFound`] when the file has no such key.
    pub fn metadata(&self, key: &str) -> Result<Metadata> {
        let (mut kind, mut count) = (0, 0);
        let (model, name, size) = (self.raw(), key.as_ptr().cast::<c_char>(), key.len());
        call(|error| unsafe {
            sys::tsr_model_metadata_kind(model, name, size, &mut kind, &mut count, error)
        })?;
        match kind {
            sys::TSR_METADATA_INT => each(count, |i, value, error| unsafe {
                sys::tsr_model_metadata_int(model, name, size, i, value, error)
            })
            .map(Metadata::Int),
            sys::TSR_METADATA_FLOAT => each(count, |i, value, error| unsafe {
                sys::tsr_model_metadata_float(model, name, size, i, value, error)
            })
            .map(Metadata::Float),
            sys::TSR_METADATA_STRING => (0..count)
                .map(|i| {
                    let (mut value, mut value_size) = (ptr::null(), 0);
                    call(|error| unsafe {
                        sys::tsr_model_metadata_string(
                            model,
                            name,
                            size,
                            i,
                            &mut value,
                            &mut value_size,
                            error,
                        )
                    })?;
                    // SAFETY: the bytes are valid as long as the model.
                    Ok(unsafe { bytes(value.cast(), value_size) }.to_vec())
                })
                .collect::<Result<_>>()
                .map(Metadata::String),
            _ => Err(Error::new(Status::Unsupported, format!("{}: metadata of a kind that is new", key))),
        }
    }

    /// Text to tokens.
    pub fn tokenize(&self, text: &str, flags: TextFlags) -> Result<Vec<Token>> {
        fill(text.len() / 2 + 8, |out, capacity, count, error| unsafe {
            let data = text.as_ptr().cast();
            sys::tsr_model_tokenize(self.raw(), data, text.len(), flags.bits(), out, capacity, count, error)
        })
    }

    /// Tokens to bytes, exactly: a list that was cut inside a code point gives invalid UTF-8.
    /// [`TextFlags::PARSE_SPECIAL`] shows special tokens; otherwise they are left out.
    pub fn detokenize(&self, tokens: &[Token], flags: TextFlags) -> Result<Vec<u8>> {
        fill(tokens.len() * 8, |out: *mut u8, capacity, size, error| unsafe {
            let (data, count) = (tokens.as_ptr(), tokens.len());
            sys::tsr_model_detokenize(
                self.raw(),
                data,
                count,
                flags.bits(),
                out.cast(),
                capacity,
                size,
                error,
            )
        })
    }

    /// A conversation as the text that the model was trained on, by the template in its file. To go on with it,
    /// use [`Session::append_chat`](crate::Session::append_chat), which keeps what users typed apart from the
    /// template's special tokens.
    pub fn apply_chat_template(&self, chat: &Chat, options: &ChatOptions) -> Result<String> {
        let built = options.0.build()?;
        let json = chat.as_json();
        let text = fill(json.len() * 2 + 256, |out: *mut u8, capacity, size, error| unsafe {
            let (data, settings) = (json.as_ptr().cast(), built.get());
            sys::tsr_model_apply_chat_template(
                self.raw(),
                data,
                json.len(),
                settings,
                out.cast(),
                capacity,
                size,
                error,
            )
        })?;
        String::from_utf8(text)
            .map_err(|error| Error::new(Status::InvalidUtf8, "the template's text").with_source(error))
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

fn load_memory(
    runtime: *mut sys::tsr_runtime,
    bytes: &[u8],
    mode: i32,
    settings: *const sys::tsr_options,
) -> Result<ModelHandle> {
    ModelHandle::create(|out, error| unsafe {
        sys::tsr_model_load_memory(runtime, bytes.as_ptr().cast(), bytes.len(), mode, settings, out, error)
    })
}

fn each<T: Default>(
    count: usize,
    get: impl Fn(usize, *mut T, *mut *mut sys::tsr_error) -> sys::tsr_status,
) -> Result<Vec<T>> {
    let element = |i| {
        let mut value = T::default();
        call(|error| get(i, &mut value, error)).map(|()| value)
    };
    (0..count).map(element).collect()
}

fn terminated(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

//! What a saved session says of itself.

use std::mem::{size_of, zeroed};

use tessera_sys as sys;

use crate::error::{call, Result};

/// The bytes that [`StateInfo::probe`] needs at the least.
pub const STATE_HEADER_BYTES: usize = sys::TSR_STATE_HEADER_BYTES;

/// The type of keys and values in a saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheType {
    /// None: tokens only.
    None,
    /// "f32".
    F32,
    /// "f16".
    F16,
    /// "bf16".
    Bf16,
    /// "int8".
    Int8,
    /// A type of a later library.
    Other(i32),
}

/// What a saved session says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateInfo {
    /// Of the whole state.
    pub size_bytes: u64,
    /// Tokens of the session.
    pub token_count: u64,
    /// Of these, tokens whose keys and values are there.
    pub cached_tokens: u64,
    /// Of the format.
    pub version: i32,
    /// The type of keys and values.
    pub cache_type: CacheType,
    /// True: the whole state was given, and every byte of it is sound. False: its beginning.
    pub complete: bool,
    /// [`ModelInfo::hash`](crate::ModelInfo::hash) of the model that it belongs to.
    pub model_hash: [u8; 16],
    /// The same of the tokenizer.
    pub tokenizer_hash: [u8; 16],
}

impl StateInfo {
    /// Looks at a saved state, or its first [`STATE_HEADER_BYTES`] or more, without a model.
    pub fn probe(state: &[u8]) -> Result<Self> {
        // SAFETY: all fields are integers.
        let mut raw: sys::tsr_state_info = unsafe { zeroed() };
        raw.struct_size = size_of::<sys::tsr_state_info>();
        call(|error| unsafe { sys::tsr_state_probe(state.as_ptr().cast(), state.len(), &mut raw, error) })?;
        Ok(Self {
            size_bytes: raw.size_bytes,
            token_count: raw.token_count,
            cached_tokens: raw.cached_tokens,
            version: raw.version,
            cache_type: match raw.cache_type {
                sys::TSR_CACHE_NONE => CacheType::None,
                sys::TSR_CACHE_F32 => CacheType::F32,
                sys::TSR_CACHE_F16 => CacheType::F16,
                sys::TSR_CACHE_BF16 => CacheType::Bf16,
                sys::TSR_CACHE_INT8 => CacheType::Int8,
                other => CacheType::Other(other),
            },
            complete: raw.complete != 0,
            model_hash: raw.model_hash,
            tokenizer_hash: raw.tokenizer_hash,
        })
    }
}

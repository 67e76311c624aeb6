//! Settings as values, and as the handle that a call takes. Keys and their builders are in settings.rs.

use std::mem::size_of;
use std::ops::ControlFlow;
use std::os::raw::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use tessera_sys as sys;

use crate::callback::{self, Caught, DeviceMemory, Hook, LogLevel, Meeting, Progress, Rendezvous};
use crate::error::{call, Result};
use crate::handle::OptionsHandle;
use crate::settings::{EngineOptions, ModelOptions, PlanOptions, QueueOptions, RuntimeOptions};

/// A pointer to something of the program's, such as its CUcontext.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pointer(*mut c_void);

// SAFETY: it is only handed to the library; whoever made it promised that it may be.
unsafe impl Send for Pointer {}
unsafe impl Sync for Pointer {}

impl Pointer {
    /// A pointer for a setting.
    ///
    /// # Safety
    /// What it points to must be what the setting asks for, and outlive all that is made with it.
    pub unsafe fn new(pointer: *mut c_void) -> Self {
        Self(pointer)
    }
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// Text.
    String(String),
    /// A list of integers.
    IntList(Vec<i64>),
    /// A list of floating-point numbers.
    FloatList(Vec<f64>),
    /// A list of texts.
    StringList(Vec<String>),
    /// A pointer to something of the program's.
    Pointer(Pointer),
}

macro_rules! value_from {
    ($($type:ty => $variant:ident,)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

value_from! {
    i32 => Int, i64 => Int, f64 => Float, f32 => Float, bool => Bool, &str => String, String => String,
    Vec<i64> => IntList, Vec<f64> => FloatList, Vec<String> => StringList, Pointer => Pointer,
}

#[derive(Clone)]
enum Callback {
    Log(Arc<callback::Log>),
    Progress(Arc<callback::Watch>),
    Ready(Arc<callback::Ready>),
    Memory(Arc<dyn DeviceMemory>),
    Rendezvous(Arc<dyn Rendezvous>),
}

#[derive(Clone)]
enum Entry {
    Plain(Value),
    Callback(Callback),
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(value) => value.fmt(f),
            Self::Callback(_) => f.write_str("callback"),
        }
    }
}

/// Settings in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options(Vec<(String, Entry)>);

/// A set of settings as the library takes it; NULL when nothing is set.
pub(crate) struct Built {
    handle: Option<OptionsHandle>,
    /// Where errors of the callbacks among them go.
    pub(crate) caught: Arc<Caught>,
}

impl Built {
    pub(crate) fn get(&self) -> *const sys::tsr_options {
        self.handle.as_ref().map_or(ptr::null(), |handle| handle.get() as *const _)
    }
}

impl Options {
    pub(crate) fn insert(&mut self, key: &str, value: Value) {
        self.put(key, Entry::Plain(value));
    }

    fn put(&mut self, key: &str, entry: Entry) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = entry,
            None => self.0.push((key.into(), entry)),
        }
    }

    pub(crate) fn merge(&mut self, others: &Options) {
        for (key, entry) in &others.0 {
            self.put(key, entry.clone());
        }
    }

    pub(crate) fn bool(&self, key: &str) -> bool {
        self.0.iter().any(|(name, entry)| name == key && matches!(entry, Entry::Plain(Value::Bool(true))))
    }

    fn int(&self, key: &str, default: i64) -> i64 {
        let found = self.0.iter().find(|(name, _)| name == key);
        match found {
            Some((_, Entry::Plain(Value::Int(value)))) => *value,
            _ => default,
        }
    }

    pub(crate) fn build(&self) -> Result<Built> {
        let mut built = Built { handle: None, caught: Arc::default() };
        if !self.0.is_empty() {
            let handle = OptionsHandle::create(|out, error| unsafe { sys::tsr_options_create(out, error) })?;
            for (key, entry) in &self.0 {
                match entry {
                    Entry::Plain(value) => set_value(&handle, key, value)?,
                    Entry::Callback(callback) => self.set_callback(&handle, key, callback, &built.caught)?,
                }
            }
            built.handle = Some(handle);
        }
        Ok(built)
    }

    fn set_callback(
        &self,
        handle: &OptionsHandle,
        key: &str,
        callback: &Callback,
        caught: &Arc<Caught>,
    ) -> Result<()> {
        match callback {
            Callback::Log(log) => set_table(
                handle,
                key,
                &sys::tsr_log_callbacks {
                    struct_size: size_of::<sys::tsr_log_callbacks>(),
                    user: Hook::into_user(log.clone(), caught),
                    drop: Some(callback::drop_hook::<callback::Log>),
                    write: Some(callback::write_log),
                },
            ),
            Callback::Progress(watch) => set_table(
                handle,
                key,
                &sys::tsr_progress_callbacks {
                    struct_size: size_of::<sys::tsr_progress_callbacks>(),
                    user: Hook::into_user(watch.clone(), caught),
                    drop: Some(callback::drop_hook::<callback::Watch>),
                    progress: Some(callback::show_progress),
                },
            ),
            Callback::Ready(ready) => set_table(
                handle,
                key,
                &sys::tsr_ready_callbacks {
                    struct_size: size_of::<sys::tsr_ready_callbacks>(),
                    user: Hook::into_user(ready.clone(), caught),
                    drop: Some(callback::drop_hook::<callback::Ready>),
                    on_ready: Some(callback::on_ready),
                },
            ),
            Callback::Memory(memory) => set_table(
                handle,
                key,
                &sys::tsr_memory_callbacks {
                    struct_size: size_of::<sys::tsr_memory_callbacks>(),
                    user: Hook::into_user(memory.clone(), caught),
                    drop: Some(callback::drop_hook::<dyn DeviceMemory>),
                    allocate: Some(callback::allocate),
                    free: Some(callback::free),
                },
            ),
            Callback::Rendezvous(rendezvous) => {
                let ranks =
                    self.int("engine.tensor_parallel", 1).saturating_mul(self.int("engine.pipeline", 1));
                let meeting =
                    Meeting { rendezvous: rendezvous.clone(), ranks: usize::try_from(ranks).unwrap_or(1) };
                set_table(
                    handle,
                    key,
                    &sys::tsr_rendezvous_callbacks {
                        struct_size: size_of::<sys::tsr_rendezvous_callbacks>(),
                        user: Hook::into_user(Arc::new(meeting), caught),
                        drop: Some(callback::drop_hook::<Meeting>),
                        all_gather: Some(callback::all_gather),
                    },
                )
            }
        }
    }
}

/// The library owns the table's `user` from here on, also when it refuses the table.
fn set_table<T>(options: &OptionsHandle, key: &str, table: &T) -> Result<()> {
    call(|error| unsafe {
        let table = (table as *const T).cast();
        sys::tsr_options_set_callbacks(options.get(), key.as_ptr().cast(), key.len(), table, error)
    })
}

fn set_value(options: &OptionsHandle, key: &str, value: &Value) -> Result<()> {
    let (to, name, size) = (options.get(), key.as_ptr().cast(), key.len());
    // SAFETY: pointers and lengths are those of live Rust values, which the library copies during the call.
    call(|error| unsafe {
        match value {
            Value::Int(value) => sys::tsr_options_set_int(to, name, size, *value, error),
            Value::Float(value) => sys::tsr_options_set_float(to, name, size, *value, error),
            Value::Bool(value) => sys::tsr_options_set_bool(to, name, size, i32::from(*value), error),
            Value::String(value) => {
                sys::tsr_options_set_string(to, name, size, value.as_ptr().cast(), value.len(), error)
            }
            Value::IntList(values) => {
                sys::tsr_options_set_int_list(to, name, size, values.as_ptr(), values.len(), error)
            }
            Value::FloatList(values) => {
                sys::tsr_options_set_float_list(to, name, size, values.as_ptr(), values.len(), error)
            }
            Value::StringList(values) => {
                let data: Vec<_> = values.iter().map(|value| value.as_ptr().cast()).collect();
                let sizes: Vec<_> = values.iter().map(String::len).collect();
                let (data, sizes) = (data.as_ptr(), sizes.as_ptr());
                sys::tsr_options_set_string_list(to, name, size, data, sizes, values.len(), error)
            }
            Value::Pointer(value) => sys::tsr_options_set_pointer(to, name, size, value.0, error),
        }
    })
}

/// A duration as the library counts it.
pub(crate) fn nanoseconds(value: Duration) -> i64 {
    i64::try_from(value.as_nanos()).unwrap_or(i64::MAX)
}

impl RuntimeOptions {
    /// Where log lines go; several threads call it at once. Without it nothing is written anywhere.
    #[must_use]
    pub fn log(mut self, write: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.0.put("runtime.log", Entry::Callback(Callback::Log(Arc::new(write))));
        self
    }
}

impl ModelOptions {
    /// Watches the load: called about every 64 MiB and at the end. `Break` ends the load with
    /// [`Status::Cancelled`](crate::Status::Cancelled).
    #[must_use]
    pub fn progress(mut self, watch: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.0.put("model.progress", Entry::Callback(Callback::Progress(Arc::new(watch))));
        self
    }

    /// Where the GPU's memory comes from that weights, caches and working memory take (`device.memory`).
    #[must_use]
    pub fn memory(mut self, memory: impl DeviceMemory + 'static) -> Self {
        self.0.put("device.memory", Entry::Callback(Callback::Memory(Arc::new(memory))));
        self
    }

    /// Where pinned memory of the host comes from (`device.pinned_memory`).
    #[must_use]
    pub fn pinned_memory(mut self, memory: impl DeviceMemory + 'static) -> Self {
        self.0.put("device.pinned_memory", Entry::Callback(Callback::Memory(Arc::new(memory))));
        self
    }
}

impl EngineOptions {
    /// How ranks in other processes are found. Without it all ranks are threads of this process.
    #[must_use]
    pub fn rendezvous(mut self, rendezvous: impl Rendezvous + 'static) -> Self {
        self.0.put("engine.rendezvous", Entry::Callback(Callback::Rendezvous(Arc::new(rendezvous))));
        self
    }
}

impl PlanOptions {
    /// The settings that the model would be loaded with.
    #[must_use]
    pub fn model(mut self, options: &ModelOptions) -> Self {
        self.0.merge(&options.0);
        self
    }

    /// The settings that the engine would be made with.
    #[must_use]
    pub fn engine(mut self, options: &EngineOptions) -> Self {
        self.0.merge(&options.0);
        self
    }
}

impl QueueOptions {
    /// Called when the queue becomes ready, on any thread; must not block. What it cancels or drops can call it
    /// again, on the same thread, before it returns: hold no lock meanwhile.
    #[must_use]
    pub fn on_ready(mut self, ready: impl Fn() + Send + Sync + 'static) -> Self {
        self.0.put("queue.on_ready", Entry::Callback(Callback::Ready(Arc::new(ready))));
        self
    }

    /// The program's callback, if there is one.
    pub(crate) fn ready(&self) -> Option<Arc<callback::Ready>> {
        self.0 .0.iter().find_map(|(_, entry)| match entry {
            Entry::Callback(Callback::Ready(ready)) => Some(ready.clone()),
            _ => None,
        })
    }
}

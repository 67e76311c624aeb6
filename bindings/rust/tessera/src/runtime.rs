//! The runtime, and the library's version.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use tessera_sys as sys;

use crate::callback::Caught;
use crate::error::{call, Error, Result};
use crate::handle::{bytes, RuntimeHandle};
use crate::settings::RuntimeOptions;

/// The version of the library in use, such as "0.1.0".
pub fn version() -> &'static str {
    // SAFETY: the string is static and ends with NUL.
    unsafe { CStr::from_ptr(sys::tsr_version_string()) }.to_str().unwrap_or("")
}

/// The version in use as major * 1000000 + minor * 1000 + patch.
pub fn version_number() -> i32 {
    unsafe { sys::tsr_version_number() }
}

/// The ABI of the library in use as JSON: functions, constants and layouts, with the version that brought each.
pub fn abi_description() -> &'static str {
    let mut size = 0;
    // SAFETY: the text is static.
    let text = unsafe { bytes(sys::tsr_abi_describe(&mut size).cast(), size) };
    std::str::from_utf8(text).unwrap_or("")
}

struct Inner {
    handle: RuntimeHandle,
    caught: Arc<Caught>,
}

/// Threads, memory and the log, shared by what is made from it. Clones are the same runtime; there is no global
/// state, and several may coexist.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

impl Runtime {
    /// A runtime with every setting at its default.
    pub fn new() -> Result<Self> {
        Self::with(&RuntimeOptions::new())
    }

    /// A runtime.
    pub fn with(options: &RuntimeOptions) -> Result<Self> {
        let built = options.0.build()?;
        let handle =
            RuntimeHandle::create(|out, error| unsafe { sys::tsr_runtime_create(built.get(), out, error) })?;
        Ok(Self(Arc::new(Inner { handle, caught: built.caught })))
    }

    /// Closes every engine and queue made from it. Later calls on them answer
    /// [`Status::Closed`](crate::Status::Closed); models stay usable for reading.
    pub fn close(&self) -> Result<()> {
        call(|error| unsafe { sys::tsr_runtime_close(self.raw(), error) })
    }

    /// The first panic of the log callback since the last call of this, which no other call could report.
    pub fn take_log_error(&self) -> Option<Error> {
        self.0.caught.take()
    }

    pub(crate) fn raw(&self) -> *mut sys::tsr_runtime {
        self.0.handle.get()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

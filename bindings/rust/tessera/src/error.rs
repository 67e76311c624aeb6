//! Errors: a status, a message for people and the place it speaks of.

use std::error::Error as StdError;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use tessera_sys as sys;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $raw:ident,)*) => {
        /// What became of a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Status {
            $($(#[$doc])* $name,)*
            /// A callback of this program panicked; the error's message has the panic's.
            CallbackPanicked,
            /// A status of a later library.
            Other(i32),
        }

        impl Status {
            pub(crate) fn from_raw(raw: sys::tsr_status) -> Self {
                match raw {
                    $(sys::$raw => Self::$name,)*
                    _ => Self::Other(raw),
                }
            }

            /// The C API's number; -1 for [`Status::CallbackPanicked`], which only this crate has.
            pub fn code(self) -> i32 {
                match self {
                    $(Self::$name => sys::$raw,)*
                    Self::CallbackPanicked => -1,
                    Self::Other(raw) => raw,
                }
            }

            /// The C API's name for it, such as "TSR_STATUS_BUSY".
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($raw),)*
                    Self::CallbackPanicked => "callback panicked",
                    Self::Other(_) => "unknown status",
                }
            }
        }
    };
}

statuses! {
    /// Done. Only a request's end has it; errors never do.
    Ok = TSR_STATUS_OK,
    /// The program asked to stop.
    Cancelled = TSR_STATUS_CANCELLED,
    /// A size, key or value that cannot be meant.
    InvalidArgument = TSR_STATUS_INVALID_ARGUMENT,
    /// The time given has passed.
    DeadlineExceeded = TSR_STATUS_DEADLINE_EXCEEDED,
    /// No such file, key or tensor.
    NotFound = TSR_STATUS_NOT_FOUND,
    /// A limit that the program set or the system imposes is reached.
    LimitExceeded = TSR_STATUS_LIMIT_EXCEEDED,
    /// The call is right, but not now: the message says what must come first.
    WrongState = TSR_STATUS_WRONG_STATE,
    /// Valid, but this build cannot do it; the message names what is missing.
    Unsupported = TSR_STATUS_UNSUPPORTED,
    /// A defect of the library.
    Internal = TSR_STATUS_INTERNAL,
    /// Another caller is inside, or a request is running.
    Busy = TSR_STATUS_BUSY,
    /// A file or saved state that breaks its own format; the message says where.
    Corrupt = TSR_STATUS_CORRUPT,
    /// Memory could not be had; nothing was changed.
    OutOfMemory = TSR_STATUS_OUT_OF_MEMORY,
    /// The caller's buffer is too small.
    BufferTooSmall = TSR_STATUS_BUFFER_TOO_SMALL,
    /// Reading failed or fell short.
    IoError = TSR_STATUS_IO_ERROR,
    /// Text that is not UTF-8; the message gives the byte offset.
    InvalidUtf8 = TSR_STATUS_INVALID_UTF8,
    /// The engine, queue or runtime was closed.
    Closed = TSR_STATUS_CLOSED,
    /// The model produced NaN or infinity.
    NumericFault = TSR_STATUS_NUMERIC_FAULT,
    /// The device or a rank is gone.
    Lost = TSR_STATUS_LOST,
    /// This process is a child of fork; the library works in its parent only.
    Forked = TSR_STATUS_FORKED,
    /// A saved state of another model, tokenizer or cache; the message says which.
    Mismatch = TSR_STATUS_MISMATCH,
}

impl From<i32> for Status {
    fn from(code: i32) -> Self {
        Self::from_raw(code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What went wrong, where, and what was expected.
#[derive(Clone)]
pub struct Error {
    status: Status,
    message: String,
    place: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), place: String::new(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The kind of error.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The message for people: what was wrong, where, what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The place alone (a file, tensor, key, setting or argument), or "".
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str(self.status.name());
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("status", &self.status).field("message", &self.message).field("place", &self.place);
        if let Some(source) = &self.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// Makes a call of the C API; its error is released here.
pub(crate) fn call(function: impl FnOnce(*mut *mut sys::tsr_error) -> sys::tsr_status) -> Result<()> {
    let mut raw = ptr::null_mut();
    let status = function(&mut raw);
    if status == sys::TSR_STATUS_OK {
        return Ok(());
    }
    // SAFETY: a failed call gave an error that is ours, or NULL, which these functions allow too.
    unsafe {
        let error = Error {
            status: Status::from_raw(if raw.is_null() { status } else { sys::tsr_error_code(raw) }),
            message: text(raw, sys::tsr_error_message),
            place: text(raw, sys::tsr_error_place),
            source: None,
        };
        sys::tsr_error_release(raw);
        Err(error)
    }
}

unsafe fn text(
    error: *const sys::tsr_error,
    get: unsafe extern "C" fn(*const sys::tsr_error, *mut usize) -> *const std::os::raw::c_char,
) -> String {
    let mut size = 0;
    let data = get(error, &mut size);
    String::from_utf8_lossy(crate::handle::bytes(data.cast(), size)).into_owned()
}

/// Calls a function that fills a buffer and says how much it needs, until the buffer is large enough.
pub(crate) fn fill<T: Copy + Default>(
    first_capacity: usize,
    mut function: impl FnMut(*mut T, usize, *mut usize, *mut *mut sys::tsr_error) -> sys::tsr_status,
) -> Result<Vec<T>> {
    let mut buffer = vec![T::default(); first_capacity];
    loop {
        let mut count = 0;
        match call(|error| function(buffer.as_mut_ptr(), buffer.len(), &mut count, error)) {
            Ok(()) => {
                buffer.truncate(count);
                return Ok(buffer);
            }
            Err(error) if error.status() == Status::BufferTooSmall && count > buffer.len() => {
                buffer.resize(count, T::default());
            }
            Err(error) => return Err(error),
        }
    }
}

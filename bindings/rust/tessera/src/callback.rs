//! Callbacks of the program behind C function pointers. A panic ends here and becomes an error.

use std::any::Any;
use std::ops::ControlFlow;
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tessera_sys as sys;

use crate::error::{Error, Result, Status};
use crate::handle::bytes;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogLevel {
    /// For those who build the library.
    Debug,
    /// What was done.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed that no call could report.
    Error,
}

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that were read.
    pub done_bytes: u64,
    /// Bytes that there are.
    pub total_bytes: u64,
}

/// What memory of a GPU is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryClass {
    /// Weights: one region a model, kept as long as it.
    Weights,
    /// Keys and values: as long as an engine.
    Cache,
    /// Working memory: as long as an engine, or a load.
    Scratch,
}

/// The program's own memory for a GPU.
///
/// # Safety
/// What `allocate` returns must be of the kind that the setting asks for, `size` bytes, aligned to 256, and
/// nobody else's until `free` is called with it.
pub unsafe trait DeviceMemory: Send + Sync {
    /// Memory of `size` bytes, or null when there is none.
    fn allocate(&self, class: MemoryClass, size: usize) -> *mut c_void;

    /// Takes back what `allocate` gave.
    ///
    /// # Safety
    /// `data` came from `allocate` with the same class and size, and nothing uses it any more.
    unsafe fn free(&self, class: MemoryClass, data: *mut c_void, size: usize);
}

/// How ranks in different processes find each other: whatever started them can gather a few kilobytes from each.
pub trait Rendezvous: Send + Sync {
    /// Collective over all ranks: each brings `mine`, everywhere as long, and gets everybody's in `all`, in
    /// rank order. An error, also when the others do not come in time, makes creating the engine fail.
    fn all_gather(
        &self,
        tag: &str,
        epoch: u64,
        mine: &[u8],
        all: &mut [u8],
        timeout: Duration,
    ) -> std::result::Result<(), i32>;
}

pub(crate) type Log = dyn Fn(LogLevel, &str) + Send + Sync;
pub(crate) type Watch = dyn Fn(Progress) -> ControlFlow<()> + Send + Sync;
pub(crate) type Ready = dyn Fn() + Send + Sync;

/// The first error of callbacks, kept for the call that they belong to.
#[derive(Default)]
pub(crate) struct Caught(Mutex<Option<Error>>);

impl Caught {
    pub(crate) fn put(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The callback's own error in place of what the library made of it.
    pub(crate) fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.take().unwrap_or(error))
    }

    /// What `function` returns, or `otherwise` when it panics.
    pub(crate) fn run<R>(&self, what: &str, otherwise: R, function: impl FnOnce() -> R) -> R {
        match catch_unwind(AssertUnwindSafe(function)) {
            Ok(result) => result,
            Err(payload) => {
                let text = payload_text(&*payload).unwrap_or("a value that is no text").to_string();
                self.put(Error::new(Status::CallbackPanicked, format!("{} panicked: {}", what, text)));
                drop_quietly(payload);
                otherwise
            }
        }
    }
}

fn payload_text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|text| &**text))
}

/// Drops what may panic when it is dropped.
fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        if payload_text(&*payload).is_none() {
            // It could panic again when it is dropped, and so on: it is left where it is.
            std::mem::forget(payload);
        }
    }
}

/// What `user` points to.
pub(crate) struct Hook<T: ?Sized> {
    pub(crate) callee: Arc<T>,
    pub(crate) caught: Arc<Caught>,
}

impl<T: ?Sized> Hook<T> {
    pub(crate) fn into_user(callee: Arc<T>, caught: &Arc<Caught>) -> *mut c_void {
        Box::into_raw(Box::new(Self { callee, caught: caught.clone() })).cast()
    }
}

pub(crate) unsafe extern "C" fn drop_hook<T: ?Sized>(user: *mut c_void) {
    drop_quietly(Box::from_raw(user.cast::<Hook<T>>()));
}

pub(crate) unsafe extern "C" fn write_log(
    user: *mut c_void,
    level: i32,
    message: *const c_char,
    size: usize,
) {
    let hook = &*user.cast::<Hook<Log>>();
    let level = match level {
        i32::MIN..=sys::TSR_LOG_DEBUG => LogLevel::Debug,
        sys::TSR_LOG_INFO => LogLevel::Info,
        sys::TSR_LOG_WARNING => LogLevel::Warning,
        _ => LogLevel::Error,
    };
    hook.caught.run("the log", (), || {
        (hook.callee)(level, &String::from_utf8_lossy(bytes(message.cast(), size)));
    });
}

pub(crate) unsafe extern "C" fn show_progress(user: *mut c_void, done_bytes: u64, total_bytes: u64) -> i32 {
    let hook = &*user.cast::<Hook<Watch>>();
    hook.caught.run("the progress callback", 1, || {
        i32::from((hook.callee)(Progress { done_bytes, total_bytes }).is_break())
    })
}

pub(crate) unsafe extern "C" fn on_ready(user: *mut c_void) {
    let hook = &*user.cast::<Hook<Ready>>();
    hook.caught.run("the queue's callback", (), || (hook.callee)());
}

fn memory_class(raw: i32) -> MemoryClass {
    match raw {
        sys::TSR_MEMORY_CLASS_WEIGHTS => MemoryClass::Weights,
        sys::TSR_MEMORY_CLASS_CACHE => MemoryClass::Cache,
        _ => MemoryClass::Scratch,
    }
}

pub(crate) unsafe extern "C" fn allocate(user: *mut c_void, class: i32, size: usize) -> *mut c_void {
    let hook = &*user.cast::<Hook<dyn DeviceMemory>>();
    let none = std::ptr::null_mut();
    hook.caught.run("the allocator", none, || hook.callee.allocate(memory_class(class), size))
}

pub(crate) unsafe extern "C" fn free(user: *mut c_void, class: i32, data: *mut c_void, size: usize) {
    let hook = &*user.cast::<Hook<dyn DeviceMemory>>();
    hook.caught.run("the allocator", (), || hook.callee.free(memory_class(class), data, size));
}

/// A rendezvous, and how many ranks there are.
pub(crate) struct Meeting {
    pub(crate) rendezvous: Arc<dyn Rendezvous>,
    pub(crate) ranks: usize,
}

#[allow(clippy::too_many_arguments)]
pub(crate) unsafe extern "C" fn all_gather(
    user: *mut c_void,
    tag: *const c_char,
    tag_size: usize,
    epoch: u64,
    mine: *const c_void,
    size: usize,
    all: *mut c_void,
    timeout_ns: i64,
) -> i32 {
    let hook = &*user.cast::<Hook<Meeting>>();
    hook.caught.run("the rendezvous", -1, || {
        let tag = String::from_utf8_lossy(bytes(tag.cast(), tag_size));
        let timeout = Duration::from_nanos(u64::try_from(timeout_ns).unwrap_or(0));
        if size == 0 {
            return hook.callee.rendezvous.all_gather(&tag, epoch, &[], &mut [], timeout).err().unwrap_or(0);
        }
        // What is handed out as a slice must have been written.
        std::ptr::write_bytes(all.cast::<u8>(), 0, size * hook.callee.ranks);
        let all = slice::from_raw_parts_mut(all.cast::<u8>(), size * hook.callee.ranks);
        match hook.callee.rendezvous.all_gather(&tag, epoch, bytes(mine.cast(), size), all, timeout) {
            Ok(()) => 0,
            Err(0) => -1,
            Err(number) => number,
        }
    })
}

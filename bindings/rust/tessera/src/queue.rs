//! Queues: the events of any number of requests, for programs with an event loop of their own.

use std::fmt;
use std::os::unix::io::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tessera_sys as sys;

use crate::callback::Caught;
use crate::engine::Engine;
use crate::error::{call, Result, Status};
use crate::event::{next_event, Event};
use crate::handle::QueueHandle;
use crate::options::nanoseconds;
use crate::runtime::Runtime;
use crate::settings::QueueOptions;

/// A kilobyte holds a few events; a larger one makes it grow.
const FIRST_BUFFER_WORDS: usize = 512;

/// A queue of events. It outlives the engines that post to it. Sessions submit to it from any thread; one caller
/// at a time polls it.
pub struct Queue {
    handle: Arc<QueueHandle>,
    waker: Arc<Mutex<Option<Waker>>>,
    caught: Arc<Caught>,
    buffer: Vec<u64>,
}

impl Queue {
    /// A queue.
    pub fn new(runtime: &Runtime) -> Result<Self> {
        Self::with(runtime, &QueueOptions::new())
    }

    /// A queue.
    pub fn with(runtime: &Runtime, options: &QueueOptions) -> Result<Self> {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let (slot, ready) = (waker.clone(), options.ready());
        let built = options
            .clone()
            .on_ready(move || {
                let waiting = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(waiting) = waiting {
                    waiting.wake();
                }
                if let Some(ready) = &ready {
                    ready();
                }
            })
            .0
            .build()?;
        let handle = QueueHandle::create(|out, error| unsafe {
            sys::tsr_queue_create(runtime.raw(), built.get(), out, error)
        })?;
        let caught = built.caught;
        let buffer = vec![0; FIRST_BUFFER_WORDS];
        Ok(Self { handle: Arc::new(handle), waker, caught, buffer })
    }

    /// Waits for events, without end when `timeout` is None, and returns those that there are: none after the
    /// timeout or a wake-up. [`Status::Closed`] once the runtime was closed and every event was delivered.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Events<'_>> {
        let count = self.fill(None, timeout)?;
        Ok(Events { records: &self.buffer[..count], at: 0 })
    }

    /// As [`Queue::poll`], for programs without an event loop: when `engine` is stepped, this thread steps it
    /// until an event is ready. [`Status::Busy`] when another thread steps it.
    pub fn wait(&mut self, engine: &Engine, timeout: Option<Duration>) -> Result<Events<'_>> {
        let count = self.fill(Some(engine), timeout)?;
        Ok(Events { records: &self.buffer[..count], at: 0 })
    }

    /// As [`Queue::poll`] inside a future: without events it returns `Pending`, and the waker is woken when there
    /// are some. Needs no runtime.
    pub fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<Result<Events<'_>>> {
        match self.fill_or_register(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(Events { records: &self.buffer[..count], at: 0 })),
        }
    }

    pub(crate) fn fill_or_register(&mut self, context: &mut Context<'_>) -> Poll<Result<usize>> {
        // First the waker, then the look: what comes in between wakes.
        let new = context.waker().clone();
        let old = self.waker.lock().unwrap_or_else(PoisonError::into_inner).replace(new);
        drop(old);
        match self.fill(None, Some(Duration::ZERO)) {
            Ok(0) => Poll::Pending,
            other => Poll::Ready(other),
        }
    }

    /// How many words of the buffer hold events.
    pub(crate) fn fill(&mut self, engine: Option<&Engine>, timeout: Option<Duration>) -> Result<usize> {
        let timeout = timeout.map_or(-1, nanoseconds);
        loop {
            let (queue, capacity, mut used) = (self.handle.get(), self.buffer.len() * 8, 0);
            let data = self.buffer.as_mut_ptr().cast();
            let result = call(|error| unsafe {
                match engine {
                    None => sys::tsr_queue_poll(queue, timeout, data, capacity, &mut used, error),
                    Some(engine) => {
                        sys::tsr_queue_wait(queue, engine.raw(), timeout, data, capacity, &mut used, error)
                    }
                }
            });
            match result {
                Err(error) if error.status() == Status::BufferTooSmall && used > capacity => {
                    self.buffer.resize((used + 7) / 8, 0);
                }
                Err(error) => return Err(error),
                Ok(()) if used > 0 => return Ok(used / 8),
                // A panic of the program's callback is told when it costs no events.
                Ok(()) => return self.caught.take().map_or(Ok(0), Err),
            }
        }
    }

    /// The buffer's first `count` words.
    pub(crate) fn records(&self, count: usize) -> &[u64] {
        &self.buffer[..count]
    }

    /// A descriptor that is readable as long as events wait or a wake-up is pending: for epoll or mio. It stays the
    /// queue's: never read, write or close it. What wants to own one, such as Tokio's `AsyncFd`, gets a duplicate
    /// by `try_clone_to_owned`.
    pub fn descriptor(&self) -> Result<BorrowedFd<'_>> {
        let mut descriptor = -1;
        call(|error| unsafe { sys::tsr_queue_descriptor(self.handle.get(), &mut descriptor, error) })?;
        // SAFETY: open as long as the queue.
        Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
    }

    /// A handle that ends a wait from any thread or callback.
    pub fn waker(&self) -> QueueWaker {
        QueueWaker(Arc::downgrade(&self.handle))
    }

    pub(crate) fn raw(&self) -> *mut sys::tsr_queue {
        self.handle.get()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Ends a wait of its queue. Keeps no queue alive.
#[derive(Clone)]
pub struct QueueWaker(Weak<QueueHandle>);

impl QueueWaker {
    /// Makes the poll that waits now, or else the next one, return at once. Does nothing once the queue is gone.
    pub fn wake(&self) -> Result<()> {
        match self.0.upgrade() {
            Some(queue) => call(|error| unsafe { sys::tsr_queue_wake(queue.get(), error) }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for QueueWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWaker").finish_non_exhaustive()
    }
}

/// The events of one poll.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    records: &'a [u64],
    at: usize,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        next_event(self.records, &mut self.at)
    }
}

impl std::iter::FusedIterator for Events<'_> {}

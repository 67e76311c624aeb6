//! Panics and errors of callbacks become errors of the calls that they belong to; nothing unwinds into the library.

mod common;

use std::io;
use std::ops::ControlFlow;
use std::panic::panic_any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{engine, model_path, tokens};
use tessera::{
    Engine, EngineOptions, LogLevel, Model, ModelOptions, Queue, QueueOptions, ReadAt, Rendezvous, Runtime,
    RuntimeOptions, Source, Status,
};

/// A payload that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload's drop");
        }
    }
}

struct Reader<F>(Vec<u8>, F);

impl<F: Fn(u64) -> io::Result<()> + Send + Sync> ReadAt for Reader<F> {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (self.1)(offset)?;
        // A short read: the rest is asked for again.
        let size = (buffer.len() / 2).max(1).min(buffer.len());
        self.0.read_at(offset, &mut buffer[..size])
    }
}

fn load_through(read: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static) -> tessera::Result<Model> {
    let bytes = std::fs::read(model_path()).unwrap();
    let source: Source = Source::Reader(Box::new(Reader(bytes, read)));
    Model::load_with(&Runtime::new().unwrap(), source, &ModelOptions::new().read_threads(2))
}

#[test]
fn a_reader_that_works_loads_the_model() {
    let runtime = Runtime::new().unwrap();
    let by_path = Model::load(&runtime, model_path()).unwrap().info().unwrap();

    assert_eq!(load_through(|_| Ok(())).unwrap().info().unwrap().hash, by_path.hash);
}

#[test]
fn a_panic_in_a_reader_is_the_loads_error() {
    let error = load_through(|offset| panic!("no bytes at {}", offset)).unwrap_err();

    assert_eq!(error.status(), Status::CallbackPanicked);
    assert!(error.message().contains("the reader panicked: no bytes at "), "{}", error);
}

#[test]
fn a_panic_whose_payload_panics_is_held_too() {
    let error = load_through(|_| panic_any(Bomb)).unwrap_err();

    assert_eq!(error.status(), Status::CallbackPanicked);
}

#[test]
fn a_readers_own_error_is_the_source_of_the_loads() {
    let error =
        load_through(|_| Err(io::Error::new(io::ErrorKind::BrokenPipe, "the line is cut"))).unwrap_err();

    assert_eq!(error.status(), Status::IoError);
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
    assert!(error.to_string().contains("the line is cut"));
}

#[test]
fn a_progress_callback_watches_a_load_and_ends_it() {
    let runtime = Runtime::new().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = seen.clone();
    let options = ModelOptions::new().progress(move |progress| {
        to.lock().unwrap().push(progress);
        ControlFlow::Continue(())
    });

    Model::load_with(&runtime, &*model_path(), &options).unwrap();

    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
    let options = ModelOptions::new().progress(|_| ControlFlow::Break(()));
    let error = Model::load_with(&runtime, &*model_path(), &options).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
}

#[test]
fn a_panic_in_a_progress_callback_is_the_loads_error() {
    let options = ModelOptions::new().progress(|_| panic!("cannot draw the bar"));

    let error = Model::load_with(&Runtime::new().unwrap(), &*model_path(), &options).unwrap_err();

    assert_eq!(error.status(), Status::CallbackPanicked);
    assert!(error.message().ends_with("panicked: cannot draw the bar"), "{}", error);
}

#[test]
fn log_lines_arrive_and_a_panic_there_stops_nothing() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = seen.clone();
    let options = RuntimeOptions::new().log_level("debug").log(move |level, line| {
        to.lock().unwrap().push((level, line.to_string()));
        panic!("the disk is full");
    });
    let runtime = Runtime::with(&options).unwrap();

    // The log says which device "auto" took.
    let model = Model::load_with(&runtime, &*model_path(), &ModelOptions::new().device("auto")).unwrap();
    let engine = Engine::with(&model, &EngineOptions::new().threads(1)).unwrap();
    let mut session = engine.session().unwrap();
    session.append("hello").unwrap();
    assert_eq!(session.complete(&tokens(3)).unwrap().tokens.len(), 3);

    let seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    assert!(
        seen.iter().any(|(level, line)| *level == LogLevel::Info && line.contains("'model.device'")),
        "{:?}",
        seen
    );
    let error = runtime.take_log_error().unwrap();
    assert_eq!(error.status(), Status::CallbackPanicked);
    assert_eq!(error.message(), "the log panicked: the disk is full");
}

#[test]
fn a_panic_in_a_queues_callback_is_told_by_a_poll_and_costs_no_event() {
    let engine = engine();
    let options = QueueOptions::new().on_ready(|| panic!("the loop is gone"));
    let mut queue = Queue::with(engine.model().runtime(), &options).unwrap();
    let mut session = engine.session().unwrap();
    session.append("hello").unwrap();
    session.submit(&tokens(4), &queue, 1).unwrap();

    let mut finished = false;
    while !finished {
        let mut events = queue.poll(Some(Duration::from_secs(60))).unwrap();
        finished = events.any(|event| matches!(event, tessera::Event::Finished(_)));
    }

    let error = queue.poll(Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.status(), Status::CallbackPanicked);
    assert_eq!(queue.poll(Some(Duration::ZERO)).unwrap().count(), 0, "it is told once");
}

struct Alone;

impl Rendezvous for Alone {
    fn all_gather(&self, _: &str, _: u64, _: &[u8], _: &mut [u8], _: Duration) -> Result<(), i32> {
        panic!("nobody came")
    }
}

#[test]
fn a_panic_in_a_rendezvous_is_the_engines_error() {
    let runtime = Runtime::new().unwrap();
    let part = ModelOptions::new().pipeline(2).rank(0);
    let model = Model::load_with(&runtime, &*model_path(), &part).unwrap();
    let options = EngineOptions::new().pipeline(2).rank(0).rendezvous(Alone);

    let error = Engine::with(&model, &options).unwrap_err();

    // A build without ranks of several processes refuses before it meets anybody.
    assert!(matches!(error.status(), Status::CallbackPanicked | Status::Unsupported), "{:?}", error);
}

#[test]
fn callbacks_are_dropped_also_when_the_call_fails() {
    let token = Arc::new(());
    let held = token.clone();
    let options = RuntimeOptions::new()
        .log(move |_, _| {
            let _ = &held;
        })
        .set("runtime.threads", -1);

    assert_eq!(Runtime::with(&options).unwrap_err().status(), Status::InvalidArgument);
    drop(options);

    assert_eq!(Arc::strong_count(&token), 1);
}

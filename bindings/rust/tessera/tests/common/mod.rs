//! What the tests share: a model, an executor of a few lines, figures of this process.
#![allow(dead_code)]

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tessera::{Engine, EngineOptions, GenerateOptions, Model, ModelOptions, Runtime};

/// The model that ctest wrote; any small one will do.
pub fn model_path() -> PathBuf {
    std::env::var_os("TESSERA_TEST_MODEL")
        .expect("TESSERA_TEST_MODEL names a small model file; ctest sets it")
        .into()
}

pub fn model() -> Model {
    let runtime = Runtime::new().unwrap();
    // Plain loops: results depend on nothing but the model.
    Model::load_with(&runtime, &*model_path(), &ModelOptions::new().device("reference")).unwrap()
}

pub fn engine() -> Engine {
    Engine::with(&model(), &EngineOptions::new().threads(1).context_tokens(128).cache_tokens(2048)).unwrap()
}

pub fn stepped_engine() -> Engine {
    let options = EngineOptions::new().threads(1).context_tokens(128).cache_tokens(2048).stepped(true);
    Engine::with(&model(), &options).unwrap()
}

/// So many tokens, whatever the model thinks of its turn.
pub fn tokens(count: i64) -> GenerateOptions {
    GenerateOptions::new().max_tokens(count).ignore_end(true)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps while there is nothing to do.
pub fn block_on<T>(mut future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    // SAFETY: the future is not moved any more.
    let mut future = unsafe { Pin::new_unchecked(&mut future) };
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A figure of /proc/self/status: "VmRSS" in KiB, "Threads".
pub fn process_figure(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

//! Tessera: transformer inference inside other people's programs.
//!
//! A [`Runtime`] owns threads and the log, a [`Model`] is loaded from it, an [`Engine`] computes over the model,
//! and a [`Session`] is one conversation. What a session generates is an iterator, and a stream that any
//! executor can poll: see [`Tokens`]. Programs with an event loop of their own use a [`Queue`].
//!
//! ```no_run
//! use tessera::{Chat, Engine, GenerateOptions, Model, Runtime};
//!
//! # fn main() -> tessera::Result<()> {
//! let runtime = Runtime::new()?;
//! let model = Model::load(&runtime, "model.gguf")?;
//! let engine = Engine::new(&model)?;
//! let mut session = engine.session()?;
//! session.append_chat(&Chat::new().user("Why is the sky blue?"))?;
//! for chunk in session.generate(&GenerateOptions::new().max_tokens(200))? {
//!     print!("{}", chunk?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//! Handles may go to any thread, and be shared where the library allows several callers at once; what it
//! allows to one caller at a time takes `&mut self`. So a second thread inside a session does not compile:
//!
//! ```compile_fail,E0499
//! # use tessera::*;
//! fn two_at_once(session: &mut Session) {
//!     std::thread::scope(|scope| {
//!         scope.spawn(|| session.append("one"));
//!         scope.spawn(|| session.append("two"));
//!     });
//! }
//! ```
//!
//! nor does a change of a session whose request runs:
//!
//! ```compile_fail,E0499
//! # use tessera::*;
//! fn change_while_generating(session: &mut Session) -> Result<()> {
//!     let tokens = session.generate(&GenerateOptions::new())?;
//!     session.rewind(0)?;
//!     tokens.complete()?;
//!     Ok(())
//! }
//! ```
//!
//! nor two pollers of one queue, nor events that are kept beyond the next poll:
//!
//! ```compile_fail,E0499
//! # use tessera::*;
//! fn keep_events(queue: &mut Queue) -> Result<()> {
//!     let old = queue.poll(None)?;
//!     let new = queue.poll(None)?;
//!     drop((old, new));
//!     Ok(())
//! }
//! ```
//!
//! nor a second thread that steps an engine, nor callbacks that are not safe to call from the library's
//! threads:
//!
//! ```compile_fail,E0596
//! # use tessera::*;
//! fn step_shared(stepper: &Stepper) -> Result<StepStats> {
//!     stepper.step(std::time::Duration::from_millis(2))
//! }
//! ```
//!
//! ```compile_fail,E0277
//! # use tessera::*;
//! let lines = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
//! let options = RuntimeOptions::new().log(move |_, line| lines.borrow_mut().push(line.to_string()));
//! ```
//!
//! Memory that a model borrows must stay for good; anything shorter is refused:
//!
//! ```compile_fail,E0597
//! # use tessera::*;
//! fn borrow(runtime: &Runtime) -> Result<Model> {
//!     let bytes = std::fs::read("model.gguf").unwrap();
//!     Model::load_with(runtime, Source::Static(&bytes), &ModelOptions::new())
//! }
//! ```
//!
//! What may cross threads, does:
//!
//! ```
//! # use tessera::*;
//! fn shared<T: Send + Sync>() {}
//! fn moved<T: Send>() {}
//! shared::<Runtime>();
//! shared::<Model>();
//! shared::<Engine>();
//! shared::<Session>();
//! shared::<Queue>();
//! shared::<Canceller>();
//! shared::<QueueWaker>();
//! shared::<Error>();
//! moved::<Stepper>();
//! moved::<Tokens<Session>>();
//! ```
//!
//! # Panics
//! A panic in a callback ends at the callback, and becomes an [`Error`] with [`Status::CallbackPanicked`] of
//! the call that it belongs to. It never unwinds into the library.
//!
//! # Linking
//! The crate finds an installed library by pkg-config, or one that is not installed in the folder that
//! `TESSERA_LIB_DIR` names at build time.
#![warn(missing_docs)]

mod callback;
mod chat;
mod engine;
mod error;
mod event;
mod handle;
mod model;
mod options;
mod plan;
mod queue;
mod records;
mod runtime;
mod session;
mod settings;
mod source;
mod state;
mod tokens;

pub use callback::{DeviceMemory, LogLevel, MemoryClass, Progress, Rendezvous};
pub use chat::Chat;
pub use engine::{Engine, Region, Stepper};
pub use error::{Error, Result, Status};
pub use event::{Event, FinishReason, Finished, FinishedEvent, TokenLogprob, TokensEvent};
pub use model::{Metadata, Model, ModelInfo, TextFlags};
pub use options::{Pointer, Value};
pub use queue::{Events, Queue, QueueWaker};
pub use records::{Metrics, Plan, StepStats};
pub use runtime::{abi_description, version, version_number, Runtime};
pub use session::{CancelEffect, Canceller, Session};
pub use settings::{
    ChatOptions, EngineOptions, GenerateOptions, ModelOptions, PlanOptions, QueueOptions, RuntimeOptions,
    SessionOptions, StateOptions,
};
pub use source::{ReadAt, Source};
pub use state::{CacheType, StateInfo, STATE_HEADER_BYTES};
pub use tokens::{Chunk, Completion, Next, Tokens};

/// A token id: 0 to [`ModelInfo::vocabulary_size`] - 1.
pub type Token = i32;

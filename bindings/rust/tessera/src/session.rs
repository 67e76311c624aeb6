//! Sessions: one conversation each.

use std::fmt;
use std::sync::{Arc, Weak};

use tessera_sys as sys;

use crate::chat::Chat;
use crate::engine::Engine;
use crate::error::{call, fill, Result};
use crate::handle::SessionHandle;
use crate::model::TextFlags;
use crate::queue::Queue;
use crate::settings::{ChatOptions, GenerateOptions, SessionOptions, StateOptions};
use crate::tokens::{Completion, Tokens};
use crate::Token;

/// What a cancelled request leaves in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelEffect {
    /// The tokens generated so far.
    Keep,
    /// Nothing: the session is as it was before it began to generate.
    Drop,
}

/// One conversation: a sequence of tokens whose keys and values the engine keeps. Dropping it cancels what runs.
pub struct Session {
    handle: Arc<SessionHandle>,
    engine: Engine,
    /// Where requests of [`Tokens`] send their events; made with the first.
    pub(crate) queue: Option<Queue>,
    /// The last request's of [`Tokens`].
    pub(crate) tag: u64,
}

impl Session {
    pub(crate) fn create(engine: &Engine, options: &SessionOptions) -> Result<Self> {
        let built = options.0.build()?;
        let handle = SessionHandle::create(|out, error| unsafe {
            sys::tsr_session_create(engine.raw(), built.get(), out, error)
        })?;
        Ok(Self::from_handle(handle, engine))
    }

    pub(crate) fn restore(
        engine: &Engine,
        state: &[u8],
        session: &SessionOptions,
        options: &StateOptions,
    ) -> Result<Self> {
        let mut all = session.0.clone();
        all.merge(&options.0);
        let built = all.build()?;
        let handle = SessionHandle::create(|out, error| unsafe {
            let data = state.as_ptr().cast();
            sys::tsr_session_restore(engine.raw(), data, state.len(), built.get(), out, error)
        })?;
        Ok(Self::from_handle(handle, engine))
    }

    fn from_handle(handle: SessionHandle, engine: &Engine) -> Self {
        Self { handle: Arc::new(handle), engine: engine.clone(), queue: None, tag: 0 }
    }

    pub(crate) fn raw(&self) -> *mut sys::tsr_session {
        self.handle.get()
    }

    /// The engine that computes it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Appends text as it is, without special tokens. All of it or, with an error, none; nothing is computed yet.
    pub fn append(&mut self, text: &str) -> Result<()> {
        self.append_text(text, TextFlags::PLAIN)
    }

    /// Appends text.
    pub fn append_text(&mut self, text: &str, flags: TextFlags) -> Result<()> {
        let data = text.as_ptr().cast();
        call(|error| unsafe {
            sys::tsr_session_append_text(self.raw(), data, text.len(), flags.bits(), error)
        })
    }

    /// Appends a conversation through the model's chat template, ready to generate the answer.
    pub fn append_chat(&mut self, chat: &Chat) -> Result<()> {
        self.append_chat_with(chat, &ChatOptions::new())
    }

    /// Appends a conversation through a chat template. Special tokens in messages stay text unless
    /// [`ChatOptions::parse_special`] says otherwise. A template writes whole conversations: to go on after an
    /// answer, [`rewind`](Session::rewind) to 0 and append all messages again; what is the same at the beginning
    /// is found in the cache.
    pub fn append_chat_with(&mut self, chat: &Chat, options: &ChatOptions) -> Result<()> {
        let (built, json) = (options.0.build()?, chat.as_json());
        let data = json.as_ptr().cast();
        call(|error| unsafe {
            sys::tsr_session_append_chat(self.raw(), data, json.len(), built.get(), error)
        })
    }

    /// Appends tokens.
    pub fn append_tokens(&mut self, tokens: &[Token]) -> Result<()> {
        call(|error| unsafe {
            sys::tsr_session_append_tokens(self.raw(), tokens.as_ptr(), tokens.len(), error)
        })
    }

    /// Computes what was appended and generates: an iterator over the answer's pieces, and a stream for executors.
    /// The session is borrowed until it is dropped, which cancels what still runs.
    pub fn generate(&mut self, options: &GenerateOptions) -> Result<Tokens<&mut Session>> {
        Tokens::start(self, options).map_err(|(error, _)| error)
    }

    /// As [`Session::generate`], but takes the session along, to another thread or into a task for example;
    /// [`Tokens::into_session`] gives it back. On failure the session comes back with the error.
    #[allow(unknown_lints, clippy::result_large_err)]
    pub fn into_generate(
        self,
        options: &GenerateOptions,
    ) -> Result<Tokens<Session>, (crate::Error, Session)> {
        Tokens::start(self, options)
    }

    /// Computes what was appended, generates, and returns the whole answer.
    pub fn complete(&mut self, options: &GenerateOptions) -> Result<Completion> {
        self.generate(options)?.complete()
    }

    /// As [`Session::generate`], with events that go to `queue` under `tag`, for programs that poll many requests
    /// in one place. Returns the request's id. Until its last event was posted, what changes the session answers
    /// [`Status::Busy`](crate::Status::Busy).
    pub fn submit(&mut self, options: &GenerateOptions, queue: &Queue, tag: u64) -> Result<u64> {
        let built = options.0.build()?;
        let mut request = 0;
        call(|error| unsafe {
            sys::tsr_session_generate(self.raw(), built.get(), queue.raw(), tag, &mut request, error)
        })?;
        Ok(request)
    }

    /// A new session with the same tokens, and the same cache as far as it is computed.
    pub fn fork(&self) -> Result<Session> {
        self.fork_with(&SessionOptions::new())
    }

    /// A new session with the same tokens, and the same cache as far as it is computed.
    pub fn fork_with(&self, options: &SessionOptions) -> Result<Session> {
        let built = options.0.build()?;
        let handle = SessionHandle::create(|out, error| unsafe {
            sys::tsr_session_fork(self.raw(), built.get(), out, error)
        })?;
        Ok(Self::from_handle(handle, &self.engine))
    }

    /// Cuts the session to its first `token_count` tokens. What they need of the cache is kept.
    pub fn rewind(&mut self, token_count: usize) -> Result<()> {
        call(|error| unsafe { sys::tsr_session_rewind(self.raw(), token_count, error) })
    }

    /// Ends the session's request, whatever it is doing. Does nothing when none runs.
    pub fn cancel(&self, effect: CancelEffect) -> Result<()> {
        cancel(&self.handle, effect)
    }

    /// A handle that cancels requests of this session from any thread or callback.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::downgrade(&self.handle))
    }

    /// How many tokens the session holds, appended and generated. While a request runs: as of the last batch.
    pub fn token_count(&self) -> Result<usize> {
        let mut count = 0;
        call(|error| unsafe { sys::tsr_session_token_count(self.raw(), &mut count, error) })?;
        Ok(count)
    }

    /// All tokens of the session.
    pub fn tokens(&mut self) -> Result<Vec<Token>> {
        let mut tokens = vec![0; self.token_count()?];
        let count = self.tokens_into(0, &mut tokens)?;
        tokens.truncate(count);
        Ok(tokens)
    }

    /// Copies tokens from `first` on, as far as there are any, and says how many.
    pub fn tokens_into(&mut self, first: usize, tokens: &mut [Token]) -> Result<usize> {
        let mut count = 0;
        let (data, capacity) = (tokens.as_mut_ptr(), tokens.len());
        call(|error| unsafe {
            sys::tsr_session_get_tokens(self.raw(), first, data, capacity, &mut count, error)
        })?;
        Ok(count)
    }

    /// The logits from which the last request would choose, or chose, its last token: raw, one for each token id.
    /// Needs [`SessionOptions::logits`].
    pub fn logits(&mut self) -> Result<Vec<f32>> {
        fill(0, |data, capacity, count, error| unsafe {
            sys::tsr_session_get_logits(self.raw(), data, capacity, count, error)
        })
    }

    /// As [`Session::logits`], into the caller's memory; returns the vocabulary's size.
    pub fn logits_into(&mut self, logits: &mut [f32]) -> Result<usize> {
        let mut count = 0;
        let (data, capacity) = (logits.as_mut_ptr(), logits.len());
        call(|error| unsafe { sys::tsr_session_get_logits(self.raw(), data, capacity, &mut count, error) })?;
        Ok(count)
    }

    /// Gives the session's cache back to the others; its tokens stay, and are computed again when it goes on.
    pub fn park(&mut self) -> Result<()> {
        call(|error| unsafe { sys::tsr_session_park(self.raw(), error) })
    }

    /// The session as bytes: [`Engine::restore`] goes on with it, in this process or another.
    pub fn save(&mut self) -> Result<Vec<u8>> {
        self.save_with(&StateOptions::new())
    }

    /// The session as bytes.
    pub fn save_with(&mut self, options: &StateOptions) -> Result<Vec<u8>> {
        let built = options.0.build()?;
        fill(0, |data: *mut u8, capacity, size, error| unsafe {
            sys::tsr_session_save(self.raw(), built.get(), data.cast(), capacity, size, error)
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("token_count", &self.token_count().ok()).finish_non_exhaustive()
    }
}

fn cancel(session: &SessionHandle, effect: CancelEffect) -> Result<()> {
    let effect = match effect {
        CancelEffect::Keep => sys::TSR_CANCEL_KEEP,
        CancelEffect::Drop => sys::TSR_CANCEL_DROP,
    };
    call(|error| unsafe { sys::tsr_session_cancel(session.get(), effect, error) })
}

/// Cancels requests of its session, from any thread or callback. Keeps no session open.
#[derive(Clone)]
pub struct Canceller(Weak<SessionHandle>);

impl Canceller {
    /// Ends the session's request, whatever it is doing. Does nothing when none runs, or the session is gone.
    pub fn cancel(&self, effect: CancelEffect) -> Result<()> {
        self.0.upgrade().map_or(Ok(()), |session| cancel(&session, effect))
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

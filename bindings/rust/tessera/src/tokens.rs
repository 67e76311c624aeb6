//! A request's answer as it comes: an iterator, and a stream that any executor polls.

use std::borrow::BorrowMut;
use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, Result, Status};
use crate::event::{next_event, Event, Finished, TokenLogprob};
use crate::queue::Queue;
use crate::session::{CancelEffect, Canceller, Session};
use crate::settings::GenerateOptions;
use crate::Token;

/// How long a thread waits for its own events while another one steps the engine, before it offers to step.
const STEPPED_BY_OTHERS: Duration = Duration::from_millis(5);

/// A piece of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Chunk {
    /// Empty while a code point or a possible stop string is incomplete.
    pub text: String,
    /// May be empty in the last piece, which brings text that was held back.
    pub tokens: Vec<Token>,
    /// One for each token, when [`GenerateOptions::top_logprobs`] asks for them.
    pub logprobs: Vec<f32>,
    /// The most probable alternatives for each token.
    pub top: Vec<Vec<TokenLogprob>>,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// Its text.
    pub text: String,
    /// Its tokens, the end token included.
    pub tokens: Vec<Token>,
    /// One for each token, when they were asked for.
    pub logprobs: Vec<f32>,
    /// The most probable alternatives for each token.
    pub top: Vec<Vec<TokenLogprob>>,
    /// How it ended.
    pub finished: Finished,
}

/// An answer as it comes, from [`Session::generate`].
///
/// As an [`Iterator`] it waits on the calling thread, and steps a stepped engine there. In a task use
/// [`Tokens::next_chunk`], or [`Tokens::poll_next`] to make a `Stream` of it: they wait for nothing, need no
/// runtime, and let somebody else step a stepped engine. A request that fails gives one error at the end; how
/// any other ended, [`Tokens::finished`] says. Dropping it cancels what still runs.
pub struct Tokens<S: BorrowMut<Session>> {
    /// None once it was given back.
    session: Option<S>,
    /// Words of the queue's buffer: where the next record is, and where they end.
    at: usize,
    end: usize,
    finished: Option<Finished>,
    /// Nothing comes any more.
    done: bool,
}

impl<S: BorrowMut<Session>> Tokens<S> {
    pub(crate) fn start(mut session: S, options: &GenerateOptions) -> Result<Self, (Error, S)> {
        match begin(session.borrow_mut(), options) {
            Ok(()) => Ok(Self { session: Some(session), at: 0, end: 0, finished: None, done: false }),
            Err(error) => Err((error, session)),
        }
    }

    fn session_ref(&self) -> &Session {
        // It is given back only by methods that take the whole object.
        self.session.as_ref().expect("the session is there").borrow()
    }

    /// The session and its queue, which the first request made.
    fn parts(&mut self) -> (&mut Queue, u64, crate::Engine) {
        let session = self.session.as_mut().expect("the session is there").borrow_mut();
        let (tag, engine) = (session.tag, session.engine().clone());
        (session.queue.as_mut().expect("a request was made"), tag, engine)
    }

    /// The next piece among the records that are there.
    fn take(&mut self) -> Option<Result<Chunk>> {
        let (mut at, end) = (self.at, self.end);
        let (queue, tag, _) = self.parts();
        let mut out = None;
        let mut finished = None;
        while let Some(event) = next_event(queue.records(end), &mut at) {
            match event {
                // What an earlier request left behind has another tag.
                Event::Tokens(event) if event.tag == tag => {
                    let top = (0..event.tokens.len()).filter(|_| event.top_count > 0);
                    out = Some(Ok(Chunk {
                        text: event.text.into(),
                        tokens: event.tokens.into(),
                        logprobs: event.logprobs.into(),
                        top: top.map(|i| event.top(i).to_vec()).collect(),
                    }));
                    break;
                }
                Event::Finished(event) if event.tag == tag => {
                    out = event.finished.error().map(Err);
                    finished = Some(event.finished);
                    break;
                }
                _ => {}
            }
        }
        self.at = at;
        if finished.is_some() {
            self.finished = finished;
            self.done = true;
        }
        out
    }

    fn fail(&mut self, error: Error) -> Option<Result<Chunk>> {
        self.done = true;
        let _ = self.session_ref().cancel(CancelEffect::Keep);
        Some(Err(error))
    }

    /// Waits for records; none after a wake-up.
    fn wait(&mut self) -> Result<usize> {
        let (queue, _, engine) = self.parts();
        if !engine.is_stepped() {
            return queue.fill(None, None);
        }
        match queue.fill(Some(&engine), None) {
            Err(error) if error.status() == Status::Busy => queue.fill(None, Some(STEPPED_BY_OTHERS)),
            other => other,
        }
    }

    /// The next piece inside a future, with the signature of a `Stream`: `Ready(None)` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Chunk>>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            if let Some(item) = self.take() {
                return Poll::Ready(Some(item));
            }
            if self.done {
                return Poll::Ready(None);
            }
            match self.parts().0.fill_or_register(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) => (self.at, self.end) = (0, count),
                Poll::Ready(Err(error)) => return Poll::Ready(self.fail(error)),
            }
        }
    }

    /// The next piece as a future.
    pub fn next_chunk(&mut self) -> Next<'_, S> {
        Next(self)
    }

    /// How the request ended; None before its end was seen.
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    /// Ends the request; the iterator then comes to its end.
    pub fn cancel(&self, effect: CancelEffect) -> Result<()> {
        self.session_ref().cancel(effect)
    }

    /// A handle that cancels it from any thread or callback.
    pub fn canceller(&self) -> Canceller {
        self.session_ref().canceller()
    }

    /// Waits for the whole answer.
    pub fn complete(mut self) -> Result<Completion> {
        let mut all = Chunk::default();
        for chunk in &mut self {
            let chunk = chunk?;
            all.text.push_str(&chunk.text);
            all.tokens.extend(chunk.tokens);
            all.logprobs.extend(chunk.logprobs);
            all.top.extend(chunk.top);
        }
        let finished = self.finished.take();
        let finished =
            finished.ok_or_else(|| Error::new(Status::Closed, "the answer was read to its end"))?;
        Ok(Completion { text: all.text, tokens: all.tokens, logprobs: all.logprobs, top: all.top, finished })
    }

    /// Ends what still runs, keeps the tokens so far, and gives the session back.
    pub fn into_session(mut self) -> S {
        self.stop();
        self.session.take().expect("the session is there")
    }

    fn stop(&mut self) {
        if self.session.is_some() && !self.done {
            self.done = true;
            let _ = self.session_ref().cancel(CancelEffect::Keep);
            // The last event is there when cancel returns; what is left has an old tag, so errors do not matter.
            let (queue, _, _) = self.parts();
            while matches!(queue.fill(None, Some(Duration::ZERO)), Ok(count) if count > 0) {}
        }
    }
}

/// Submits to the session's own queue, which the first request makes.
fn begin(session: &mut Session, options: &GenerateOptions) -> Result<()> {
    let queue = match session.queue.take() {
        Some(queue) => queue,
        None => Queue::new(session.engine().model().runtime())?,
    };
    let tag = session.tag + 1;
    let result = session.submit(options, &queue, tag);
    session.queue = Some(queue);
    result.map(|_| session.tag = tag)
}

impl<S: BorrowMut<Session>> Iterator for Tokens<S> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Result<Chunk>> {
        loop {
            if self.done {
                return None;
            }
            if let Some(item) = self.take() {
                return Some(item);
            }
            if self.done {
                return None;
            }
            match self.wait() {
                Ok(count) => (self.at, self.end) = (0, count),
                Err(error) => return self.fail(error),
            }
        }
    }
}

impl<S: BorrowMut<Session>> FusedIterator for Tokens<S> {}

impl<S: BorrowMut<Session>> Drop for Tokens<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<S: BorrowMut<Session>> fmt::Debug for Tokens<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("finished", &self.finished).finish_non_exhaustive()
    }
}

/// The next piece of an answer, from [`Tokens::next_chunk`]. Dropping it loses nothing.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Next<'a, S: BorrowMut<Session>>(&'a mut Tokens<S>);

impl<S: BorrowMut<Session>> Future for Next<'_, S> {
    type Output = Option<Result<Chunk>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_next(context)
    }
}

//! Events as the library writes them into a buffer, and how they are read.

use std::mem::{align_of, size_of};
use std::ptr;
use std::slice;
use std::time::Duration;

use tessera_sys as sys;

use crate::error::{Error, Status};
use crate::Token;

/// A token and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct TokenLogprob {
    /// Token id.
    pub token: Token,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Something that happened to a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Generated tokens and text.
    Tokens(TokensEvent<'a>),
    /// The request's end; exactly one for each.
    Finished(FinishedEvent),
}

/// Generated tokens and text. Text comes in whole code points and may lag behind the tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokensEvent<'a> {
    /// The program's, from [`Session::submit`](crate::Session::submit).
    pub tag: u64,
    /// The request's id.
    pub request: u64,
    /// May be empty in the last one, which brings text that was held back.
    pub tokens: &'a [Token],
    /// Empty while a code point or a possible stop string is incomplete.
    pub text: &'a str,
    /// One for each token, of the model's own distribution; empty when not asked for.
    pub logprobs: &'a [f32],
    pub(crate) top: &'a [TokenLogprob],
    pub(crate) top_count: usize,
}

impl<'a> TokensEvent<'a> {
    /// The most probable alternatives at token `index` of this event, most probable first.
    pub fn top(&self, index: usize) -> &'a [TokenLogprob] {
        self.top.get(index * self.top_count..(index + 1) * self.top_count).unwrap_or(&[])
    }
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended its turn. The end token is part of the session, not of the text.
    End,
    /// A stop string or stop token; the text ends before it.
    Stop,
    /// As many tokens as were asked for were generated.
    Length,
    /// The context is full.
    Context,
    /// It was cancelled, or the session was dropped.
    Cancelled,
    /// Its deadline has passed.
    Deadline,
    /// Something failed.
    Error,
    /// The engine was closed.
    Closed,
    /// A reason of a later library.
    Other(i32),
}

impl FinishReason {
    fn from_raw(raw: i32) -> Self {
        match raw {
            sys::TSR_FINISH_END => Self::End,
            sys::TSR_FINISH_STOP => Self::Stop,
            sys::TSR_FINISH_LENGTH => Self::Length,
            sys::TSR_FINISH_CONTEXT => Self::Context,
            sys::TSR_FINISH_CANCELLED => Self::Cancelled,
            sys::TSR_FINISH_DEADLINE => Self::Deadline,
            sys::TSR_FINISH_ERROR => Self::Error,
            sys::TSR_FINISH_CLOSED => Self::Closed,
            _ => Self::Other(raw),
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// Why.
    pub reason: FinishReason,
    /// [`Status::Ok`] for `End`, `Stop`, `Length` and `Context`.
    pub status: Status,
    /// Tokens that were computed before the first new one.
    pub prompt_tokens: u32,
    /// Tokens that were generated and kept in the session, the end token included.
    pub generated_tokens: u32,
    /// The last one generated.
    pub last_token: Option<Token>,
    /// A message for people when the reason is `Error`, else "".
    pub message: String,
    /// From submission to the first computation.
    pub queued: Duration,
    /// From there to the first token.
    pub prompt: Duration,
    /// From there to the end.
    pub decode: Duration,
}

impl Finished {
    /// What failed, when the reason is `Error`.
    pub fn error(&self) -> Option<Error> {
        (self.reason == FinishReason::Error).then(|| Error::new(self.status, self.message.clone()))
    }
}

/// A request's last event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FinishedEvent {
    /// The program's, from [`Session::submit`](crate::Session::submit).
    pub tag: u64,
    /// The request's id.
    pub request: u64,
    /// How it ended.
    pub finished: Finished,
}

/// Records one after the other; `at` moves on. Kinds that are not known are skipped.
pub(crate) fn next_event<'a>(records: &'a [u64], at: &mut usize) -> Option<Event<'a>> {
    loop {
        let rest = words(records.get(*at..)?);
        let head: sys::tsr_event = read(rest)?;
        let size = (head.size as usize).max(size_of::<sys::tsr_event>());
        *at += (size + 7) / 8;
        let record = rest.get(..size)?;
        match head.kind {
            sys::TSR_EVENT_TOKENS => return tokens_event(record).map(Event::Tokens),
            sys::TSR_EVENT_FINISHED => return finished_event(record).map(Event::Finished),
            _ => {}
        }
    }
}

fn words(records: &[u64]) -> &[u8] {
    // SAFETY: any word is eight bytes.
    unsafe { slice::from_raw_parts(records.as_ptr().cast(), records.len() * 8) }
}

/// The record's fields; None where it is shorter, which no library of this API writes.
fn read<T: Copy>(record: &[u8]) -> Option<T> {
    let bytes = record.get(..size_of::<T>())?;
    // SAFETY: the types that this is used with are integers.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

fn list<T: Copy>(record: &[u8], offset: u32, count: usize) -> Option<&[T]> {
    if offset == 0 || count == 0 {
        return Some(&[]);
    }
    let bytes = record.get(offset as usize..)?.get(..count * size_of::<T>())?;
    if bytes.as_ptr() as usize % align_of::<T>() != 0 {
        return None;
    }
    // SAFETY: inside the record, aligned; the types that this is used with are numbers.
    Some(unsafe { slice::from_raw_parts(bytes.as_ptr().cast(), count) })
}

fn tokens_event(record: &[u8]) -> Option<TokensEvent<'_>> {
    let raw: sys::tsr_event_tokens = read(record)?;
    let count = raw.token_count as usize;
    let top_count = raw.top_count as usize;
    Some(TokensEvent {
        tag: raw.head.tag,
        request: raw.request,
        tokens: list(record, raw.token_offset, count)?,
        text: std::str::from_utf8(list(record, raw.text_offset, raw.text_size as usize)?).ok()?,
        logprobs: list(record, raw.logprob_offset, count)?,
        top: list(record, raw.top_offset, count * top_count)?,
        top_count,
    })
}

fn finished_event(record: &[u8]) -> Option<FinishedEvent> {
    let raw: sys::tsr_event_finished = read(record)?;
    let message = list(record, raw.message_offset, raw.message_size as usize)?;
    let time = |ns: i64| Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    Some(FinishedEvent {
        tag: raw.head.tag,
        request: raw.request,
        finished: Finished {
            reason: FinishReason::from_raw(raw.reason),
            status: Status::from_raw(raw.status),
            prompt_tokens: raw.prompt_tokens,
            generated_tokens: raw.generated_tokens,
            last_token: Some(raw.last_token).filter(|token| *token >= 0),
            message: String::from_utf8_lossy(message).into_owned(),
            queued: time(raw.queued_ns),
            prompt: time(raw.prompt_ns),
            decode: time(raw.decode_ns),
        },
    })
}

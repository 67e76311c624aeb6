"""Events: what a queue's records say, and the iteration over one request's, blocking or in asyncio."""

from __future__ import annotations

import asyncio
import ctypes as c
import enum
from typing import TYPE_CHECKING, AsyncIterator, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _abi
from ._library import Status, TesseraError, error_of

if TYPE_CHECKING:
    from ._core import Engine, Queue, Session


class FinishReason(enum.IntEnum):
    """Why a request ended."""

    END = _abi.FINISH_END
    STOP = _abi.FINISH_STOP
    LENGTH = _abi.FINISH_LENGTH
    CONTEXT = _abi.FINISH_CONTEXT
    CANCELLED = _abi.FINISH_CANCELLED
    DEADLINE = _abi.FINISH_DEADLINE
    ERROR = _abi.FINISH_ERROR
    CLOSED = _abi.FINISH_CLOSED


class Chunk(NamedTuple):
    """Generated tokens and text, which may lag behind. str() gives the text."""

    tag: int
    text: str
    tokens: List[int]
    logprobs: Optional[List[float]] = None
    top: Optional[List[List[Tuple[int, float]]]] = None

    def __str__(self) -> str:
        return self.text


class Finished(NamedTuple):
    """A request's last event."""

    tag: int
    reason: FinishReason
    status: Status
    message: str
    prompt_tokens: int
    generated_tokens: int
    last_token: int
    queued_ns: int
    prompt_ns: int
    decode_ns: int


Event = Union[Chunk, Finished]


def decode(buffer: c.Array, used: int) -> List[Event]:
    """The records in the first `used` bytes."""
    events: List[Event] = []
    base, at = c.addressof(buffer), 0
    while at < used:
        head = _abi.Event.from_address(base + at)
        if head.kind == _abi.EVENT_TOKENS:
            events.append(_chunk(base + at))
        elif head.kind == _abi.EVENT_FINISHED:
            e = _abi.EventFinished.from_address(base + at)
            message = c.string_at(base + at + e.message_offset, e.message_size).decode("utf-8", "replace")
            events.append(Finished(head.tag, FinishReason(e.reason), Status(e.status), message, e.prompt_tokens,
                                   e.generated_tokens, e.last_token, e.queued_ns, e.prompt_ns, e.decode_ns))
        at += head.size
    return events


def _chunk(address: int) -> Chunk:
    e = _abi.EventTokens.from_address(address)
    count, tops = e.token_count, e.top_count
    logprobs = top = None
    if e.logprob_offset:
        logprobs = list((c.c_float * count).from_address(address + e.logprob_offset))
    if e.top_offset:
        pairs = (_abi.TokenLogprob * (count * tops)).from_address(address + e.top_offset)
        top = [[(pairs[i].token, pairs[i].logprob) for i in range(first, first + tops)]
               for first in range(0, count * tops, tops)]
    return Chunk(e.head.tag, c.string_at(address + e.text_offset, e.text_size).decode(),
                 list((c.c_int32 * count).from_address(address + e.token_offset)), logprobs, top)


class Generation:
    """One request: iterate (`for` or `async for`) over its chunks. `result` is there after the last one. Left early,
    by an exception, `close()` or the end of a `with`, it is cancelled; what was generated stays in the session."""

    def __init__(self, session: "Session", engine: "Engine", queue: "Queue", tag: int) -> None:
        self._session, self._engine, self._queue, self._tag = session, engine, queue, tag
        self._waiting: List[Event] = []
        self.result: Optional[Finished] = None

    def cancel(self, drop: bool = False) -> None:
        """Ends the request, on any thread; the iteration then ends too."""
        if self._runs():
            self._session.cancel(drop=drop)

    # A session has one request at a time: where another began, this one has ended, and its events are gone.
    def _runs(self) -> bool:
        return self.result is None and self._session._current == self._tag

    def close(self) -> None:
        if self._runs():
            self.cancel()
            for _ in self:
                pass

    def text(self) -> str:
        """All of the (remaining) text."""
        return "".join(chunk.text for chunk in self)

    # What has come already: a chunk, or None.
    def _next(self) -> Optional[Chunk]:
        while self._waiting:
            event = self._waiting.pop(0)
            if event.tag != self._tag:
                continue  # of an earlier request that was given up
            if isinstance(event, Chunk):
                return event
            self.result = event
            if event.reason == FinishReason.ERROR:
                raise error_of(event.status, event.message)
        return None

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        while True:
            chunk = self._next()
            if chunk is not None:
                return chunk
            if not self._runs():
                raise StopIteration
            # In slices, so that Python's signal handlers (Ctrl-C) run meanwhile.
            self._waiting = self._queue.wait(self._engine, timeout=0.1)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        while True:
            chunk = self._next()
            if chunk is not None:
                return chunk
            if not self._runs():
                raise StopAsyncIteration
            try:
                self._waiting = await self._queue.events()
            except asyncio.CancelledError:
                self._session.cancel()
                raise

    def __enter__(self) -> "Generation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Generation":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runs():
            self.cancel()
            async for _chunk_ in self:
                pass

    def __del__(self) -> None:
        try:
            self.cancel()
        except (AttributeError, TesseraError):  # half made, or its session is closed
            pass

"""Runtime, Model, Engine, Session and Queue. Each is a context manager; children keep their parents alive. Settings are
keyword arguments where they are common, and `options={"engine.cache_type": "f16"}` for all of docs/settings.md."""

from __future__ import annotations

import asyncio
import ctypes as c
import itertools
import json
import os
from typing import (Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union)

from . import _abi
from ._events import Event, Generation, decode
from ._library import Busy, Handle, NotFound, Status, TesseraError, call, filled, library, sized
from ._options import DROP, READ_AT, Options, hold

try:
    import numpy
except ImportError:  # logits are a memoryview then
    numpy = None  # type: ignore[assignment]

Settings = Optional[Mapping[str, Any]]
Messages = Union[str, Sequence[Mapping[str, Any]]]


def _make(name: str, settings: Options, *arguments: Any) -> Optional[int]:
    handle = c.c_void_p()
    with settings:
        call(name, *arguments, settings, c.byref(handle))
    return handle.value


def _nanoseconds(timeout: Optional[float]) -> int:
    return -1 if timeout is None else max(0, int(timeout * 1e9))


def _fields(structure: Any) -> Dict[str, Any]:
    """A structure's values; bytes as they are, numbers as numbers."""
    values = {}
    for name, *_ in structure._fields_:
        if name not in ("struct_size", "reserved"):
            value = getattr(structure, name)
            values[name] = value.decode() if isinstance(value, bytes) else (
                bytes(value) if isinstance(value, c.Array) and value._type_ is c.c_uint8 else
                list(value) if isinstance(value, c.Array) else value)
    return values


def _json(messages: Messages) -> bytes:
    return (messages if isinstance(messages, str) else json.dumps(list(messages))).encode()


class Runtime(Handle):
    """Threads, memory and the log. `log` is called with a level (0 debug to 3 error) and a line, on any thread."""

    _kind = "runtime"

    def __init__(self, *, threads: Optional[int] = None, log: Optional[Callable[[int, str], None]] = None,
                 log_level: Optional[str] = None, options: Settings = None) -> None:
        settings = Options({"runtime.threads": threads, "runtime.log": log, "runtime.log_level": log_level}, options)
        super().__init__(_make("tsr_runtime_create", settings))

    def close(self) -> None:
        """Closes every engine and queue made from it. Later calls on them raise Closed."""
        call("tsr_runtime_close", self)

    def __exit__(self, *_: object) -> None:
        self.close()
        self.release()


class Reader(NamedTuple):
    """A model's bytes from anywhere: `read_into(offset, buffer)` fills the buffer and returns its size."""

    size: int
    read_into: Callable[[int, Any], int]


Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, Reader]


class ModelInfo(NamedTuple):
    parameters: int
    weight_bytes: int
    bytes_per_token: int
    vocabulary_size: int
    context_tokens: int
    layers: int
    hidden_size: int
    bos_token: int
    end_token: int
    hash: bytes
    tokenizer_hash: bytes
    device: str
    device_uuid: str
    device_memory_bytes: int


class Metadata(Mapping[str, Any]):
    """The model file's metadata: scalars, or lists of them."""

    def __init__(self, model: "Model") -> None:
        self._model = model

    def _pinned(self, function: Any, *arguments: Any) -> Any:
        value = self._model._pin()
        try:
            return function(value, *arguments)
        finally:
            self._model._unpin()

    def __len__(self) -> int:
        return self._pinned(library.tsr_model_metadata_count)

    def __iter__(self) -> Iterator[str]:
        for index in range(len(self)):
            size = c.c_size_t()
            data = self._pinned(library.tsr_model_metadata_key, index, c.byref(size))
            yield c.string_at(data, size.value).decode("utf-8", "replace")

    def __getitem__(self, key: str) -> Any:
        values = self.elements(key)
        return values[0] if len(values) == 1 else values

    def elements(self, key: str) -> List[Any]:
        """All elements of an entry, also of a scalar. KeyError's kind (LookupError) is raised where there is none."""
        name, kind, count = key.encode(), c.c_int32(), c.c_size_t()
        try:
            call("tsr_model_metadata_kind", self._model, name, len(name), c.byref(kind), c.byref(count))
        except TesseraError as error:
            if error.code == Status.NOT_FOUND:
                raise _NoSuchKey(error.message, error.code, error.place) from None
            raise
        values: List[Any] = []
        for index in range(count.value):
            if kind.value == _abi.METADATA_STRING:
                data, size = c.c_void_p(), c.c_size_t()
                call("tsr_model_metadata_string", self._model, name, len(name), index, c.byref(data), c.byref(size))
                values.append(c.string_at(data, size.value).decode("utf-8", "surrogateescape"))
                continue
            value: Any = c.c_int64() if kind.value == _abi.METADATA_INT else c.c_double()
            function = "tsr_model_metadata_int" if kind.value == _abi.METADATA_INT else "tsr_model_metadata_float"
            call(function, self._model, name, len(name), index, c.byref(value))
            values.append(value.value)
        return values


class _NoSuchKey(NotFound, KeyError):
    __str__ = Exception.__str__


def _reader(source: Reader) -> Any:
    number, held = hold(lambda offset, buffer: source.read_into(offset, buffer))
    return _abi.Reader(struct_size=c.sizeof(_abi.Reader), user=number, drop=DROP, size_bytes=source.size,
                       read_at=READ_AT), held


class Model(Handle):
    """A loaded model: immutable, for any thread. `source` is a path, bytes, an open file or a Reader. `progress` is
    called with bytes done and in all, and ends the load by returning False or raising. What a callback raises, the
    constructor raises."""

    _kind = "model"

    def __init__(self, source: Source, *, runtime: Optional[Runtime] = None, device: Optional[str] = None,
                 progress: Optional[Callable[[int, int], Optional[bool]]] = None, options: Settings = None) -> None:
        self.runtime = runtime or Runtime()
        settings = Options({"model.device": device, "model.progress": progress}, options)
        held = list(settings.held.values())
        try:
            super().__init__(self._load(source, settings, held))
        except TesseraError as error:
            raised = next((h.raised for h in held if h.raised is not None), None)
            if raised is not None:
                raise raised from error
            raise

    def _load(self, source: Source, settings: Options, held: List[Any]) -> Optional[int]:
        if isinstance(source, Reader):
            reader, own = _reader(source)
            held.append(own)
            return _make("tsr_model_load_reader", settings, self.runtime, c.byref(reader))
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            return _make("tsr_model_load_memory", settings, self.runtime, data, len(data), _abi.MEMORY_COPY)
        if isinstance(source, (str, os.PathLike)):
            path = os.fsencode(source)
            return _make("tsr_model_load_file", settings, self.runtime, path, len(path))
        return _make("tsr_model_load_descriptor", settings, self.runtime, source.fileno(), 0, 0)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(**_fields(filled(_abi.ModelInfo, "tsr_model_get_info", self)))

    @property
    def metadata(self) -> Metadata:
        return Metadata(self)

    def tokenize(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> List[int]:
        data = text.encode()
        return list(sized(c.c_int32, "tsr_model_tokenize", self, data, len(data), _flags(parse_special, add_special)))

    def detokenize_bytes(self, tokens: Sequence[int], *, show_special: bool = False) -> bytes:
        """Exactly: the bytes may be cut inside a code point."""
        return bytes(sized(c.c_char, "tsr_model_detokenize", self, (c.c_int32 * len(tokens))(*tokens), len(tokens),
                           _flags(show_special, False)))

    def detokenize(self, tokens: Sequence[int], *, show_special: bool = False) -> str:
        return self.detokenize_bytes(tokens, show_special=show_special).decode("utf-8", "replace")

    def apply_chat_template(self, messages: Messages, *, add_generation_prompt: bool = True,
                            tools: Optional[Sequence[Mapping[str, Any]]] = None, options: Settings = None) -> str:
        data = _json(messages)
        with _chat(add_generation_prompt, tools, options) as settings:
            return bytes(sized(c.c_char, "tsr_model_apply_chat_template", self, data, len(data), settings)).decode()

    def engine(self, **settings: Any) -> "Engine":
        """As Engine(model, ...)."""
        return Engine(self, **settings)


def _flags(parse_special: bool, add_special: bool) -> int:
    return (_abi.TEXT_PARSE_SPECIAL if parse_special else 0) | (_abi.TEXT_ADD_SPECIAL if add_special else 0)


def _chat(add_generation_prompt: bool, tools: Any, options: Settings) -> Options:
    return Options({"chat.add_generation_prompt": None if add_generation_prompt else False,
                    "chat.tools": None if tools is None else json.dumps(list(tools))}, options)


class StepStats(NamedTuple):
    elapsed_ns: int
    prompt_tokens: int
    generated_tokens: int
    work_left: bool


class Engine(Handle):
    """Computes the requests of many sessions together. With `stepped` it does so only in step(), and in waits."""

    _kind = "engine"

    def __init__(self, model: Model, *, threads: Optional[int] = None, stepped: Optional[bool] = None,
                 context_tokens: Optional[int] = None, cache_tokens: Optional[int] = None,
                 max_sessions: Optional[int] = None, max_requests: Optional[int] = None,
                 options: Settings = None) -> None:
        self.model = model
        settings = Options({"engine.threads": threads, "engine.stepped": stepped,
                            "engine.context_tokens": context_tokens, "engine.cache_tokens": cache_tokens,
                            "engine.max_sessions": max_sessions, "engine.max_requests": max_requests}, options)
        super().__init__(_make("tsr_engine_create", settings, model))

    def session(self, *, logits: Optional[bool] = None, options: Settings = None) -> "Session":
        settings = Options({"session.logits": logits}, options)
        return Session(self, _make("tsr_session_create", settings, self))

    def restore(self, state: bytes, *, logits: Optional[bool] = None, cache: Optional[bool] = None,
                options: Settings = None) -> "Session":
        """A session from what Session.save() gave, here or in another language."""
        settings = Options({"session.logits": logits, "state.cache": cache}, options)
        return Session(self, _make("tsr_session_restore", settings, self, state, len(state)))

    def step(self, budget: Optional[float] = None) -> StepStats:
        """Computes for so many seconds, or, without a budget, one batch."""
        stats = _abi.StepStats(struct_size=c.sizeof(_abi.StepStats))
        call("tsr_engine_step", self, _nanoseconds(budget), c.byref(stats))
        return StepStats(stats.elapsed_ns, stats.prompt_tokens, stats.generated_tokens, bool(stats.work_left))

    def serve(self) -> None:
        """The work of a rank other than 0."""
        call("tsr_engine_serve", self)

    @property
    def metrics(self) -> Dict[str, Any]:
        return _fields(filled(_abi.EngineMetrics, "tsr_engine_get_metrics", self))

    def close(self) -> None:
        """Ends every request and frees the cache. Later calls raise Closed; counts can still be read."""
        call("tsr_engine_close", self)

    def __exit__(self, *_: object) -> None:
        self.close()
        self.release()


class Queue(Handle):
    """Events of any number of requests. One thread polls at a time. `on_ready` is called on any thread when the queue
    is not empty any more, and must not block."""

    _kind = "queue"

    def __init__(self, runtime: Runtime, *, on_ready: Optional[Callable[[], None]] = None,
                 options: Settings = None) -> None:
        self.runtime = runtime
        super().__init__(_make("tsr_queue_create", Options({"queue.on_ready": on_ready}, options), runtime))
        self._buffer = (c.c_uint64 * 1024)()
        self._awaited = False

    def poll(self, timeout: Optional[float] = 0) -> List[Event]:
        """What waits, after at most `timeout` seconds (None: without end); nothing after the timeout or a wake()."""
        return self._fill("tsr_queue_poll", (self, _nanoseconds(timeout)))

    def wait(self, engine: Engine, timeout: Optional[float] = None) -> List[Event]:
        """The same; a stepped engine is stepped meanwhile."""
        return self._fill("tsr_queue_wait", (self, engine, _nanoseconds(timeout)))

    def _fill(self, name: str, arguments: Any) -> List[Event]:
        buffer, used = self._buffer, c.c_size_t()
        while True:
            try:
                call(name, *arguments, buffer, c.sizeof(buffer), c.byref(used))
            except TesseraError as error:
                if error.code != Status.BUFFER_TOO_SMALL:
                    raise
                buffer = self._buffer = (c.c_uint64 * (used.value // 8 + 1))()
                continue
            return decode(buffer, used.value)

    async def events(self) -> List[Event]:
        """Waits in the running asyncio loop until there are some (or a wake(): none). The engine must be a threaded
        one, or somebody must step it."""
        if self._awaited:
            raise Busy("another task waits for this queue's events", place="queue")
        loop, descriptor = asyncio.get_running_loop(), self.fileno()
        ready: "asyncio.Future[None]" = loop.create_future()

        def wake_up() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(descriptor, wake_up)
        self._awaited = True
        try:
            await ready
        finally:
            self._awaited = False
            loop.remove_reader(descriptor)
        return self.poll()

    def fileno(self) -> int:
        """A descriptor that is readable while events wait: for select and asyncio. Never read or close it."""
        descriptor = c.c_int()
        call("tsr_queue_descriptor", self, c.byref(descriptor))
        return descriptor.value

    def wake(self) -> None:
        call("tsr_queue_wake", self)


class Session(Handle):
    """One conversation. One caller at a time, but for cancel(), fork() and len(), which any thread may call."""

    _kind = "session"

    def __init__(self, engine: Engine, handle: Optional[int]) -> None:
        super().__init__(handle)
        self.engine = engine
        self._queue: Optional[Queue] = None
        self._tags = itertools.count(1)
        self._current = 0  # the tag of the generation that began last

    def append(self, what: Union[str, Sequence[int]], *, parse_special: bool = False,
               add_special: bool = False) -> "Session":
        """Appends text or tokens; nothing is computed yet."""
        if isinstance(what, str):
            self.append_utf8(what.encode("utf-8", "surrogatepass"), parse_special=parse_special,
                             add_special=add_special)
        else:
            call("tsr_session_append_tokens", self, (c.c_int32 * len(what))(*what), len(what))
        return self

    def append_utf8(self, data: bytes, *, parse_special: bool = False, add_special: bool = False) -> "Session":
        call("tsr_session_append_text", self, data, len(data), _flags(parse_special, add_special))
        return self

    def append_chat(self, messages: Messages, *, add_generation_prompt: bool = True,
                    tools: Optional[Sequence[Mapping[str, Any]]] = None, options: Settings = None) -> "Session":
        """Appends a conversation, such as [{"role": "user", "content": "Hello"}], by the model's template."""
        data = _json(messages)
        with _chat(add_generation_prompt, tools, options) as settings:
            call("tsr_session_append_chat", self, data, len(data), settings)
        return self

    def generate(self, prompt: Union[None, str, Sequence[int]] = None, *, max_tokens: Optional[int] = None,
                 temperature: Optional[float] = None, top_p: Optional[float] = None, top_k: Optional[int] = None,
                 min_p: Optional[float] = None, seed: Optional[int] = None, stop: Optional[Sequence[str]] = None,
                 deadline: Optional[float] = None, logprobs: Optional[int] = None, priority: Optional[int] = None,
                 options: Settings = None) -> Generation:
        """Appends the prompt, if any, and generates: iterate with `for` or `async for`. `deadline` is in seconds;
        `logprobs` asks for that many alternatives to each token (0: its own alone)."""
        if prompt is not None:
            self.append(prompt)
        if self._queue is None:
            self._queue = Queue(self.engine.model.runtime)
        tag = next(self._tags)
        self.submit(self._queue, tag, {
            "request.max_tokens": max_tokens, "request.stop": stop, "request.top_logprobs": logprobs,
            "request.deadline_ns": None if deadline is None else max(1, int(deadline * 1e9)),
            "request.priority": priority, "sampling.temperature": temperature, "sampling.top_p": top_p,
            "sampling.top_k": top_k, "sampling.min_p": min_p, "sampling.seed": seed, **(options or {})})
        self._current = tag
        return Generation(self, self.engine, self._queue, tag)

    def submit(self, queue: Queue, tag: int, options: Settings = None) -> int:
        """Generates into a queue of one's own, for programs that poll many requests in one place."""
        request = c.c_uint64()
        with Options(options) as settings:
            call("tsr_session_generate", self, settings, queue, tag, c.byref(request))
        return request.value

    def cancel(self, *, drop: bool = False) -> None:
        """Ends the request; with `drop` what it generated is taken back."""
        call("tsr_session_cancel", self, _abi.CANCEL_DROP if drop else _abi.CANCEL_KEEP)

    def fork(self, *, logits: Optional[bool] = None, options: Settings = None) -> "Session":
        settings = Options({"session.logits": logits}, options)
        return Session(self.engine, _make("tsr_session_fork", settings, self))

    def rewind(self, token_count: int) -> None:
        call("tsr_session_rewind", self, token_count)

    def park(self) -> None:
        """Gives the cache back; the tokens stay."""
        call("tsr_session_park", self)

    def __len__(self) -> int:
        count = c.c_size_t()
        call("tsr_session_token_count", self, c.byref(count))
        return count.value

    def __bool__(self) -> bool:
        return True

    @property
    def tokens(self) -> List[int]:
        buffer, count = (c.c_int32 * len(self))(), c.c_size_t()
        call("tsr_session_get_tokens", self, 0, buffer, len(buffer), c.byref(count))
        return buffer[:count.value]

    def logits(self) -> Any:
        """The last logits: a numpy array over the very memory that the library wrote, or, without numpy, a memoryview
        of floats. The session must have been made with logits=True."""
        buffer = sized(c.c_float, "tsr_session_get_logits", self)
        if numpy is not None:
            return numpy.frombuffer(buffer, dtype=numpy.float32)
        return memoryview(buffer).cast("B").cast("f")

    def save(self, *, cache: Optional[bool] = None, options: Settings = None) -> bytes:
        """The session as bytes; without `cache` its tokens alone."""
        with Options({"state.cache": cache}, options) as settings:
            return bytes(sized(c.c_char, "tsr_session_save", self, settings))

    def close(self) -> None:
        """Cancels what runs and gives the session up."""
        self.release()


def probe(state: bytes) -> Dict[str, Any]:
    """What a saved session says of itself."""
    return _fields(filled(_abi.StateInfo, "tsr_state_probe", state, len(state)))


def plan(source: Source, *, runtime: Optional[Runtime] = None, options: Settings = None) -> Dict[str, Any]:
    """What an engine over a model file would take, and how fast it should run; reads the header alone."""
    runtime = runtime or Runtime()
    with Options(options) as settings:
        if isinstance(source, Reader):
            reader, _ = _reader(source)
            out = _plan("tsr_plan_reader", settings, runtime, c.byref(reader))
        elif isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            out = _plan("tsr_plan_memory", settings, runtime, data, len(data))
        elif isinstance(source, (str, os.PathLike)):
            path = os.fsencode(source)
            out = _plan("tsr_plan_file", settings, runtime, path, len(path))
        else:
            out = _plan("tsr_plan_descriptor", settings, runtime, source.fileno(), 0, 0)
    return _fields(out)


def _plan(name: str, settings: Options, *arguments: Any) -> Any:
    return filled(_abi.Plan, name, *arguments, settings)


def version() -> str:
    """The library's."""
    return c.string_at(library.tsr_version_string()).decode()


def abi() -> Dict[str, Any]:
    """The C ABI of the library in use."""
    return json.loads(c.string_at(library.tsr_abi_describe(None)))

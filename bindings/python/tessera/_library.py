"""Finds and loads libtessera, makes calls, and turns their errors into exceptions. ctypes lets go of the GIL during
every call, so that other Python threads run while one waits."""

from __future__ import annotations

import ctypes as c
import enum
import os
import threading
import weakref
from typing import Any, Dict, Optional, Type

from . import _abi


def _open() -> c.CDLL:
    """TESSERA_LIBRARY, the library that the wheel carries, or the system's."""
    carried = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "libtessera.so.0")
    path = os.environ.get("TESSERA_LIBRARY") or (carried if os.path.exists(carried) else "libtessera.so.0")
    library = c.CDLL(path)
    for name, (returns, takes) in _abi.FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library


library = _open()


class Status(enum.IntEnum):
    """What became of a call. Statuses that a later library adds are INTERNAL here."""

    OK = _abi.STATUS_OK
    CANCELLED = _abi.STATUS_CANCELLED
    INVALID_ARGUMENT = _abi.STATUS_INVALID_ARGUMENT
    DEADLINE_EXCEEDED = _abi.STATUS_DEADLINE_EXCEEDED
    NOT_FOUND = _abi.STATUS_NOT_FOUND
    LIMIT_EXCEEDED = _abi.STATUS_LIMIT_EXCEEDED
    WRONG_STATE = _abi.STATUS_WRONG_STATE
    UNSUPPORTED = _abi.STATUS_UNSUPPORTED
    INTERNAL = _abi.STATUS_INTERNAL
    BUSY = _abi.STATUS_BUSY
    CORRUPT = _abi.STATUS_CORRUPT
    OUT_OF_MEMORY = _abi.STATUS_OUT_OF_MEMORY
    BUFFER_TOO_SMALL = _abi.STATUS_BUFFER_TOO_SMALL
    IO_ERROR = _abi.STATUS_IO_ERROR
    INVALID_UTF8 = _abi.STATUS_INVALID_UTF8
    CLOSED = _abi.STATUS_CLOSED
    NUMERIC_FAULT = _abi.STATUS_NUMERIC_FAULT
    LOST = _abi.STATUS_LOST
    FORKED = _abi.STATUS_FORKED
    MISMATCH = _abi.STATUS_MISMATCH

    @classmethod
    def _missing_(cls, value: object) -> "Status":
        return cls.INTERNAL


class TesseraError(Exception):
    """A call that failed: `code`, what it speaks of (`place`: a file, key, setting, argument), and why."""

    code: Status = Status.INTERNAL

    def __init__(self, message: str, code: Optional[Status] = None, place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        if code is not None:
            self.code = code


class InvalidArgument(TesseraError, ValueError):
    code = Status.INVALID_ARGUMENT


class InvalidUtf8(TesseraError, ValueError):
    code = Status.INVALID_UTF8


class NotFound(TesseraError, LookupError):
    code = Status.NOT_FOUND


class OutOfMemory(TesseraError, MemoryError):
    code = Status.OUT_OF_MEMORY


class DeadlineExceeded(TesseraError, TimeoutError):
    code = Status.DEADLINE_EXCEEDED


class Cancelled(TesseraError):
    code = Status.CANCELLED


class Busy(TesseraError):
    code = Status.BUSY


class Closed(TesseraError):
    code = Status.CLOSED


class LimitExceeded(TesseraError):
    code = Status.LIMIT_EXCEEDED


class WrongState(TesseraError):
    code = Status.WRONG_STATE


class Corrupt(TesseraError):
    code = Status.CORRUPT


class Mismatch(TesseraError):
    code = Status.MISMATCH


class Unsupported(TesseraError):
    code = Status.UNSUPPORTED


_KINDS: Dict[Status, Type[TesseraError]] = {kind.code: kind for kind in (
    InvalidArgument, InvalidUtf8, NotFound, OutOfMemory, DeadlineExceeded, Cancelled, Busy, Closed, LimitExceeded,
    WrongState, Corrupt, Mismatch, Unsupported)}


def error_of(code: int, message: str, place: str = "") -> TesseraError:
    status = Status(code)
    return _KINDS.get(status, TesseraError)(message, status, place)


def _text(function: Any, error: c.c_void_p) -> str:
    size = c.c_size_t()
    return c.string_at(function(error, c.byref(size)), size.value).decode("utf-8", "replace")


class Handle:
    """What owns a handle of the library. A handle that a call is using is released when that call is over, so that
    close() is safe on any thread; what is forgotten is released by the garbage collector or at exit."""

    _kind = ""  # as in tsr_KIND_release

    def __init__(self, value: Optional[int]) -> None:
        self._value = value
        self._users = 0
        self._open = True
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, getattr(library, "tsr_%s_release" % self._kind), value)

    def _pin(self) -> Optional[int]:
        with self._lock:
            if not self._open:
                raise Closed("this %s was closed" % self._kind, place=self._kind)
            self._users += 1
            return self._value

    def _unpin(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0 and not self._open
        if last:
            self._finalizer()

    def release(self) -> None:
        """Drops the handle: any order, any thread, more than once."""
        with self._lock:
            self._open = False
            last = self._users == 0
        if last:
            self._finalizer()

    def close(self) -> None:
        """Gives back what this holds. It must not be used afterwards."""
        self.release()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def call(name: str, *arguments: Any) -> None:
    """A call that can fail. Handles among the arguments stay until it is over."""
    error, pinned, values = c.c_void_p(), [], []
    try:
        for argument in arguments:
            if isinstance(argument, Handle):
                values.append(argument._pin())
                pinned.append(argument)
            else:
                values.append(argument)
        status = getattr(library, name)(*values, c.byref(error))
    finally:
        for handle in pinned:
            handle._unpin()
    if status != _abi.STATUS_OK:
        message, place = _text(library.tsr_error_message, error), _text(library.tsr_error_place, error)
        library.tsr_error_release(error)
        raise error_of(status, message, place)


def sized(unit: Any, name: str, *arguments: Any) -> Any:
    """What a call writes to (buffer, capacity, &size): an array of `unit`."""
    size = c.c_size_t()
    buffer = (unit * 0)()
    while True:
        try:
            call(name, *arguments, buffer, len(buffer), c.byref(size))
        except TesseraError as error:
            if error.code != Status.BUFFER_TOO_SMALL:
                raise
            buffer = (unit * size.value)()
            continue
        return buffer if size.value == len(buffer) else (unit * size.value).from_buffer(buffer)


def filled(structure: Any, name: str, *arguments: Any) -> Any:
    """A structure that a call fills."""
    out = structure(struct_size=c.sizeof(structure))
    call(name, *arguments, c.byref(out))
    return out

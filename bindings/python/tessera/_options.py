"""Settings for one call, from a mapping of key to value; callbacks are Python functions."""

from __future__ import annotations

import ctypes as c
import itertools
import sys
import threading
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from . import _abi
from ._library import Handle, InvalidArgument, call

# Python functions that the library holds, by the number that it has as `user`: until it drops them.
_held: Dict[int, Any] = {}
_numbers = itertools.count(1)
_lock = threading.Lock()


class Held:
    """A function that the library calls, and what it raised."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.raised: Optional[BaseException] = None


def hold(function: Callable[..., Any]) -> Tuple[int, Held]:
    held = Held(function)
    with _lock:
        number = next(_numbers)
        _held[number] = held
    return number, held


def run(user: int, otherwise: Any, *arguments: Any) -> Any:
    """Calls the host's function. What it raises is kept and reported; the library never sees it."""
    held = _held.get(user)
    if held is None:
        return otherwise
    try:
        return held.function(*arguments)
    except BaseException as raised:  # nothing may get into the library
        held.raised = raised
        report = (type(raised), raised, raised.__traceback__, "a tessera callback", held.function)
        sys.unraisablehook(sys.UnraisableHookArgs(report))  # type: ignore[call-arg]
        return otherwise


def _field(structure: Any, name: str) -> Any:
    return dict(structure._fields_)[name]


DROP = _field(_abi.Reader, "drop")(lambda user: _held.pop(user, None) and None)
_LOG = _field(_abi.LogCallbacks, "write")(
    lambda user, level, data, size: run(user, None, level, c.string_at(data, size).decode("utf-8", "replace")) and None)
_PROGRESS = _field(_abi.ProgressCallbacks, "progress")(
    lambda user, done, total: 1 if run(user, False, done, total) is False else 0)
_READY = _field(_abi.ReadyCallbacks, "on_ready")(lambda user: run(user, None) and None)
READ_AT = _field(_abi.Reader, "read_at")(
    lambda user, offset, buffer, size: run(user, -1, offset, (c.c_char * size).from_address(buffer)))

_TABLES: Dict[str, Tuple[Any, str, Any]] = {
    "runtime.log": (_abi.LogCallbacks, "write", _LOG),
    "model.progress": (_abi.ProgressCallbacks, "progress", _PROGRESS),
    "queue.on_ready": (_abi.ReadyCallbacks, "on_ready", _READY),
}


class Options(Handle):
    _kind = "options"

    def __init__(self, *sets: Optional[Mapping[str, Any]]) -> None:
        handle = c.c_void_p()
        call("tsr_options_create", c.byref(handle))
        super().__init__(handle.value)
        self.held: Dict[str, Held] = {}
        for settings in sets:
            for key, value in (settings or {}).items():
                if value is not None:
                    self._set(key, value)

    def _set(self, key: str, value: Any) -> None:
        name = key.encode()
        head = (self, name, len(name))
        if callable(value):
            self._set_callback(key, head, value)
        elif isinstance(value, bool):
            call("tsr_options_set_bool", *head, value)
        elif isinstance(value, int):
            if not -(1 << 63) <= value < 1 << 63:
                raise InvalidArgument("%d is no 64-bit integer" % value, place="setting '%s'" % key)
            self._set_number(head, value)
        elif isinstance(value, float):
            call("tsr_options_set_float", *head, value)
        elif isinstance(value, str):
            data = value.encode()
            call("tsr_options_set_string", *head, data, len(data))
        elif isinstance(value, c.c_void_p):
            call("tsr_options_set_pointer", *head, value)
        else:
            self._set_list(head, key, list(value))

    @staticmethod
    def _set_number(head: Tuple[Any, ...], value: int) -> None:
        """Whole numbers do for settings of either kind."""
        try:
            call("tsr_options_set_int", *head, value)
        except InvalidArgument:
            try:
                call("tsr_options_set_float", *head, float(value))
                return
            except InvalidArgument:
                pass
            raise

    @staticmethod
    def _set_list(head: Tuple[Any, ...], key: str, values: list) -> None:
        count = len(values)
        if all(isinstance(value, str) for value in values):
            if not values:
                return  # nothing, of whatever type
            texts = [value.encode() for value in values]
            call("tsr_options_set_string_list", *head, (c.c_char_p * count)(*texts),
                 (c.c_size_t * count)(*map(len, texts)), count)
        elif all(isinstance(value, int) for value in values):
            try:
                call("tsr_options_set_int_list", *head, (c.c_int64 * count)(*values), count)
            except InvalidArgument:
                try:
                    call("tsr_options_set_float_list", *head, (c.c_double * count)(*values), count)
                    return
                except InvalidArgument:
                    pass
                raise
        elif all(isinstance(value, (int, float)) for value in values):
            call("tsr_options_set_float_list", *head, (c.c_double * count)(*values), count)
        else:
            raise InvalidArgument("a list of text, of integers or of numbers is expected", place="setting '%s'" % key)

    def _set_callback(self, key: str, head: Tuple[Any, ...], function: Callable[..., Any]) -> None:
        if key not in _TABLES:
            raise InvalidArgument("this setting takes no function", place="setting '%s'" % key)
        structure, field, trampoline = _TABLES[key]
        number, self.held[key] = hold(function)
        table = structure(struct_size=c.sizeof(structure), user=number, drop=DROP, **{field: trampoline})
        call("tsr_options_set_callbacks", *head, c.byref(table))

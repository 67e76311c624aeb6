"""libtessera behind ctypes, as much of it as comparing logits needs. An error of the library is raised."""
import ctypes
import struct

import numpy as np

EVENT_TOKENS, EVENT_FINISHED = 1, 2
COPY, BORROW = 0, 1


class Info(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("parameters", ctypes.c_int64), ("weight_bytes", ctypes.c_uint64),
                ("bytes_per_token", ctypes.c_uint64), ("vocabulary_size", ctypes.c_int32),
                ("context_tokens", ctypes.c_int32), ("layers", ctypes.c_int32), ("hidden_size", ctypes.c_int32),
                ("bos_token", ctypes.c_int32), ("end_token", ctypes.c_int32), ("hash", ctypes.c_uint8 * 16),
                ("tokenizer_hash", ctypes.c_uint8 * 16), ("device", ctypes.c_char * 128),
                ("device_uuid", ctypes.c_char * 48), ("device_memory_bytes", ctypes.c_uint64)]


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.tsr_error_message.restype = ctypes.c_char_p
        self.c.tsr_status_name.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        error = ctypes.c_void_p()
        status = getattr(self.c, name)(*arguments, ctypes.byref(error))
        if status == 0:
            return
        text = self.c.tsr_error_message(error, None).decode()
        self.c.tsr_error_release(error)
        raise RuntimeError(f"{name}: {self.c.tsr_status_name(status).decode()}: {text}")

    def make(self, name, *arguments):
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def options(self, values):
        """A set of options from a dictionary; the caller releases it."""
        options = self.make("tsr_options_create")
        for key, value in values.items():
            name = key.encode()
            if isinstance(value, bool):
                self.call("tsr_options_set_bool", options, name, ctypes.c_size_t(len(name)), int(value))
            elif isinstance(value, int):
                self.call("tsr_options_set_int", options, name, ctypes.c_size_t(len(name)), ctypes.c_int64(value))
            else:
                text = value.encode()
                self.call("tsr_options_set_string", options, name, ctypes.c_size_t(len(name)), text,
                          ctypes.c_size_t(len(text)))
        return options


class Model:
    """One runtime and one model, from a file in memory."""

    def __init__(self, library, data, device):
        self.library, self.data = library, data
        self.runtime = library.make("tsr_runtime_create", None)
        options = library.options({"model.device": device})
        view = (ctypes.c_uint8 * len(data)).from_buffer(data)
        self.handle = library.make("tsr_model_load_memory", self.runtime, view, ctypes.c_size_t(len(data)), COPY,
                                   options)
        library.c.tsr_options_release(options)
        info = Info(ctypes.sizeof(Info))
        library.call("tsr_model_get_info", self.handle, ctypes.byref(info))
        self.vocabulary, self.device = info.vocabulary_size, info.device.decode()

    def close(self):
        self.library.c.tsr_model_release(self.handle)
        self.library.c.tsr_runtime_release(self.runtime)


class Engine:
    """A stepped engine and its sessions: who is asked together is computed together."""

    def __init__(self, model, settings):
        self.model, self.library = model, model.library
        options = self.library.options({"engine.stepped": True, "engine.share_prefixes": False, **settings})
        self.handle = self.library.make("tsr_engine_create", model.handle, options)
        self.library.c.tsr_options_release(options)
        self.queue = self.library.make("tsr_queue_create", model.runtime, None)
        self.sessions = []

    def close(self):
        for session in self.sessions:
            self.library.c.tsr_session_release(session)
        self.library.c.tsr_queue_release(self.queue)
        self.library.c.tsr_engine_release(self.handle)

    def open(self, logits=True):
        options = self.library.options({"session.logits": logits})
        self.sessions.append(self.library.make("tsr_session_create", self.handle, options))
        self.library.c.tsr_options_release(options)
        return self.sessions[-1]

    def append(self, session, tokens):
        array = np.ascontiguousarray(tokens, dtype=np.int32)
        self.library.call("tsr_session_append_tokens", session, array.ctypes.data_as(ctypes.c_void_p),
                          ctypes.c_size_t(len(array)))

    def generate(self, sessions, max_tokens):
        """Greedy, all sessions together. For each its tokens and their log-probabilities."""
        options = self.library.options({"request.max_tokens": max_tokens, "request.ignore_end": True,
                                        "request.top_logprobs": 0})
        for tag, session in enumerate(sessions):
            self.library.call("tsr_session_generate", session, options, self.queue, ctypes.c_uint64(tag), None)
        self.library.c.tsr_options_release(options)
        answers = [([], []) for _ in sessions]
        left = len(sessions)
        buffer, used = (ctypes.c_uint64 * 8192)(), ctypes.c_size_t()
        while left:
            self.library.call("tsr_queue_wait", self.queue, self.handle, ctypes.c_int64(60 * 10**9), buffer,
                              ctypes.c_size_t(ctypes.sizeof(buffer)), ctypes.byref(used))
            assert used.value, "no event came in 60 seconds"
            left -= self._take(bytes(memoryview(buffer).cast("B")[:used.value]), answers)
        return answers

    @staticmethod
    def _take(records, answers):
        ended, at = 0, 0
        while at < len(records):
            size, kind, tag = struct.unpack_from("<IIQ", records, at)
            if kind == EVENT_TOKENS:
                count, tokens, _, _, logprobs = struct.unpack_from("<5I", records, at + 24)
                answers[tag][0].extend(struct.unpack_from(f"<{count}i", records, at + tokens))
                if logprobs:
                    answers[tag][1].extend(struct.unpack_from(f"<{count}f", records, at + logprobs))
            elif kind == EVENT_FINISHED:
                _, status = struct.unpack_from("<ii", records, at + 24)
                length, place = struct.unpack_from("<II", records, at + 44)
                assert status == 0, records[at + place:at + place + length].decode()
                ended += 1
            at += size
        return ended

    def logits(self, session):
        out = np.full(self.model.vocabulary, np.nan, dtype=np.float32)
        count = ctypes.c_size_t()
        self.library.call("tsr_session_get_logits", session, out.ctypes.data_as(ctypes.c_void_p),
                          ctypes.c_size_t(len(out)), ctypes.byref(count))
        assert count.value == len(out), count.value
        return out

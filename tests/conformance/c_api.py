"""Carries out the steps of conformance scenarios through the C API alone, without any binding: what it gets is
what every binding must get. Knows nothing of expected results; make.py records and compares."""

import ctypes as c
import json
import os
import re
import threading

PATIENCE_NS = 10**11  # nanoseconds that a wait may last


def header_constants(path):
    """TSR_ constants of the header by name."""
    text = re.sub(r"/\*.*?\*/", "", open(path, encoding="utf-8").read(), flags=re.S)
    found = re.findall(r"\b(TSR_[A-Z0-9_]+)\s*=\s*(-?\d+)", text)
    return {name: int(value) for name, value in found}


class LogCallbacks(c.Structure):
    WRITE = c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_void_p, c.c_size_t)
    _fields_ = [("struct_size", c.c_size_t), ("user", c.c_void_p), ("drop", c.c_void_p), ("call", WRITE)]


class ProgressCallbacks(c.Structure):
    CALL = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_uint64, c.c_uint64)
    _fields_ = [("struct_size", c.c_size_t), ("user", c.c_void_p), ("drop", c.c_void_p), ("call", CALL)]


class ReadyCallbacks(c.Structure):
    CALL = c.CFUNCTYPE(None, c.c_void_p)
    _fields_ = [("struct_size", c.c_size_t), ("user", c.c_void_p), ("drop", c.c_void_p), ("call", CALL)]


class Reader(c.Structure):
    READ = c.CFUNCTYPE(c.c_int64, c.c_void_p, c.c_uint64, c.c_void_p, c.c_size_t)
    _fields_ = [("struct_size", c.c_size_t), ("user", c.c_void_p), ("drop", c.c_void_p),
                ("size_bytes", c.c_uint64), ("read_at", READ)]


class ModelInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("parameters", c.c_int64), ("weight_bytes", c.c_uint64),
                ("bytes_per_token", c.c_uint64), ("vocabulary_size", c.c_int32), ("context_tokens", c.c_int32),
                ("layers", c.c_int32), ("hidden_size", c.c_int32), ("bos_token", c.c_int32),
                ("end_token", c.c_int32), ("hash", c.c_uint8 * 16), ("tokenizer_hash", c.c_uint8 * 16),
                ("device", c.c_char * 128), ("device_uuid", c.c_char * 48), ("device_memory_bytes", c.c_uint64)]


class StepStats(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("elapsed_ns", c.c_int64), ("prompt_tokens", c.c_uint64),
                ("generated_tokens", c.c_uint64), ("work_left", c.c_int32), ("reserved", c.c_int32)]


class StateInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("size_bytes", c.c_uint64), ("token_count", c.c_uint64),
                ("cached_tokens", c.c_uint64), ("version", c.c_int32), ("cache_type", c.c_int32),
                ("complete", c.c_int32), ("reserved", c.c_int32), ("model_hash", c.c_uint8 * 16),
                ("tokenizer_hash", c.c_uint8 * 16)]


class Event(c.Structure):
    _fields_ = [("size", c.c_uint32), ("kind", c.c_uint32), ("tag", c.c_uint64)]


class EventTokens(c.Structure):
    _fields_ = [("head", Event), ("request", c.c_uint64)] + [(name, c.c_uint32) for name in (
        "token_count", "token_offset", "text_size", "text_offset", "logprob_offset", "top_count", "top_offset",
        "reserved")]


class TokenLogprob(c.Structure):
    _fields_ = [("token", c.c_int32), ("logprob", c.c_float)]


class EventFinished(c.Structure):
    _fields_ = [("head", Event), ("request", c.c_uint64), ("reason", c.c_int32), ("status", c.c_int32),
                ("prompt_tokens", c.c_uint32), ("generated_tokens", c.c_uint32), ("last_token", c.c_int32),
                ("message_size", c.c_uint32), ("message_offset", c.c_uint32), ("reserved", c.c_uint32),
                ("queued_ns", c.c_int64), ("prompt_ns", c.c_int64), ("decode_ns", c.c_int64)]


class Refused(Exception):
    """A call's error."""

    def __init__(self, code, place, message):
        super().__init__(message)
        self.code, self.place = code, place


class Steps:
    """The steps of one scenario: `run` carries out one and returns what it observed."""

    def __init__(self, library, constants, folder):
        self.lib, self.constants, self.folder = library, constants, folder
        self.names = {value: name for name, value in constants.items() if name.startswith("TSR_STATUS_")}
        self.reasons = {value: name for name, value in constants.items() if name.startswith("TSR_FINISH_")}
        self.handles, self.kinds, self.states, self.calls, self.kept = {}, {}, {}, {}, []

    # One call that takes a last error pointer; raises what it answers.
    def call(self, name, *arguments):
        error = c.c_void_p(1)
        status = getattr(self.lib, name)(*arguments, c.byref(error))
        if (status != 0) != bool(error.value):
            raise AssertionError(name + ": the error object disagrees with the status")
        if status == 0:
            return
        get = lambda f: (setattr(f, "restype", c.c_char_p), f(error, None))[1].decode("utf-8", "replace")
        place, message = get(self.lib.tsr_error_place), get(self.lib.tsr_error_message)
        self.lib.tsr_error_release(error)
        raise Refused(self.names[status], place, message)

    def handle(self, name):
        return c.c_void_p(self.handles[name])

    def keep(self, step, kind, handle):
        self.handles[step["as"]], self.kinds[step["as"]] = handle.value, kind

    def options(self, step):
        if not step.get("options"):
            return Options(self, [])
        return Options(self, step["options"])

    def path(self, file):
        beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), file)
        inside = os.path.join(self.folder, file)
        return inside if os.path.exists(inside) or not os.path.exists(beside) else beside

    def flags(self, step):
        return c.c_int32(sum(self.constants["TSR_TEXT_" + f] for f in step.get("flags", [])))

    def run(self, step):
        try:
            return getattr(self, "do_" + step["do"])(step) or {}
        except Refused as refused:
            return {"status": refused.code, "place": refused.place}

    def end(self):
        """Releases what the scenario left, children last: any order is allowed."""
        for name in list(self.handles):
            self.do_release({"name": name})

    # Things made and given up.
    def do_runtime(self, step):
        handle = c.c_void_p()
        with self.options(step) as options:
            self.call("tsr_runtime_create", options, c.byref(handle))
        self.keep(step, "runtime", handle)

    def do_load(self, step):
        handle, path, runtime = c.c_void_p(), self.path(step["file"]), self.handle(step["runtime"])
        source = step.get("from", "file")
        with self.options(step) as options:
            if source == "file":
                name = path.encode()
                self.call("tsr_model_load_file", runtime, name, c.c_size_t(len(name)), options, c.byref(handle))
            elif source == "descriptor":
                with open(path, "rb") as file:
                    self.call("tsr_model_load_descriptor", runtime, file.fileno(), c.c_uint64(0), c.c_uint64(0),
                              options, c.byref(handle))
            elif source == "memory":
                data = open(path, "rb").read()
                self.call("tsr_model_load_memory", runtime, data, c.c_size_t(len(data)), 0, options,
                          c.byref(handle))
            else:
                data = open(path, "rb").read()

                def read_at(_, offset, buffer, size):
                    c.memmove(buffer, data[offset:offset + size], size)
                    return size

                reader = Reader(c.sizeof(Reader), None, None, len(data), Reader.READ(read_at))
                self.kept.append(reader)
                self.call("tsr_model_load_reader", runtime, c.byref(reader), options, c.byref(handle))
        self.keep(step, "model", handle)

    def do_engine(self, step):
        self.make(step, "engine", "tsr_engine_create", "model")

    def do_queue(self, step):
        self.make(step, "queue", "tsr_queue_create", "runtime")

    def do_session(self, step):
        self.make(step, "session", "tsr_session_create", "engine")

    def do_fork(self, step):
        self.make(step, "session", "tsr_session_fork", "session")

    def make(self, step, kind, function, parent):
        handle = c.c_void_p()
        with self.options(step) as options:
            self.call(function, self.handle(step[parent]), options, c.byref(handle))
        self.keep(step, kind, handle)

    def do_close(self, step):
        name = step["name"]
        self.call("tsr_%s_close" % self.kinds[name], self.handle(name))

    def do_release(self, step):
        name = step["name"]
        getattr(self.lib, "tsr_%s_release" % self.kinds[name])(self.handle(name))
        del self.handles[name]

    # Models.
    def do_model_info(self, step):
        info = ModelInfo(struct_size=c.sizeof(ModelInfo))
        self.call("tsr_model_get_info", self.handle(step["model"]), c.byref(info))
        result = {name: getattr(info, name) for name in (
            "parameters", "vocabulary_size", "context_tokens", "layers", "hidden_size", "bos_token", "end_token")}
        result["hash"], result["tokenizer_hash"] = bytes(info.hash).hex(), bytes(info.tokenizer_hash).hex()
        result["device"] = info.device.decode()
        return result

    def do_metadata(self, step):
        model, key = self.handle(step["model"]), step["key"].encode()
        kind, count, values = c.c_int32(), c.c_size_t(), []
        self.call("tsr_model_metadata_kind", model, key, c.c_size_t(len(key)), c.byref(kind), c.byref(count))
        for index in range(min(count.value, 8)):
            head = (model, key, c.c_size_t(len(key)), c.c_size_t(index))
            if kind.value == 3:
                text, size = c.c_void_p(), c.c_size_t()
                self.call("tsr_model_metadata_string", *head, c.byref(text), c.byref(size))
                values.append(c.string_at(text, size.value).decode())
            else:
                value = c.c_int64() if kind.value == 1 else c.c_double()
                self.call("tsr_model_metadata_int" if kind.value == 1 else "tsr_model_metadata_float", *head,
                          c.byref(value))
                values.append(value.value)
        return {"count": count.value, "first": values}

    # A call that fills (pointer, capacity, &size): asks for the size first.
    def sized(self, unit, name, *arguments, last=()):
        size = c.c_size_t()
        try:
            self.call(name, *arguments, None, c.c_size_t(0), c.byref(size))
        except Refused as refused:
            if refused.code != "TSR_STATUS_BUFFER_TOO_SMALL":
                raise
        buffer = (unit * max(size.value, 1))()
        self.call(name, *arguments, buffer, size, c.byref(size))
        return buffer[:size.value]

    def do_tokenize(self, step):
        text = step["text"].encode()
        return {"tokens": self.sized(c.c_int32, "tsr_model_tokenize", self.handle(step["model"]), text,
                                     c.c_size_t(len(text)), self.flags(step))}

    def do_detokenize(self, step):
        tokens = step["tokens"]
        text = self.sized(c.c_char, "tsr_model_detokenize", self.handle(step["model"]),
                          (c.c_int32 * len(tokens))(*tokens), c.c_size_t(len(tokens)), self.flags(step))
        return {"text": bytes(text).decode()}

    def do_chat_template(self, step):
        messages = json.dumps(step["messages"]).encode()
        with self.options(step) as options:
            text = self.sized(c.c_char, "tsr_model_apply_chat_template", self.handle(step["model"]), messages,
                              c.c_size_t(len(messages)), options)
        return {"text": bytes(text).decode()}

    # Sessions.
    def do_append_text(self, step):
        text = bytes.fromhex(step["bytes"]) if "bytes" in step else step["text"].encode()
        self.call("tsr_session_append_text", self.handle(step["session"]), text, c.c_size_t(len(text)),
                  self.flags(step))

    def do_append_tokens(self, step):
        tokens = step["tokens"]
        self.call("tsr_session_append_tokens", self.handle(step["session"]), (c.c_int32 * len(tokens))(*tokens),
                  c.c_size_t(len(tokens)))

    def do_append_chat(self, step):
        messages = json.dumps(step["messages"]).encode()
        with self.options(step) as options:
            self.call("tsr_session_append_chat", self.handle(step["session"]), messages,
                      c.c_size_t(len(messages)), options)

    def do_generate(self, step):
        with self.options(step) as options:
            self.call("tsr_session_generate", self.handle(step["session"]), options, self.handle(step["queue"]),
                      c.c_uint64(step["tag"]), None)

    def do_cancel(self, step):
        effect = self.constants["TSR_CANCEL_" + step["effect"]]
        self.call("tsr_session_cancel", self.handle(step["session"]), c.c_int32(effect))

    def do_rewind(self, step):
        self.call("tsr_session_rewind", self.handle(step["session"]), c.c_size_t(step["count"]))

    def do_park(self, step):
        self.call("tsr_session_park", self.handle(step["session"]))

    def do_tokens(self, step):
        count, session = c.c_size_t(), self.handle(step["session"])
        self.call("tsr_session_token_count", session, c.byref(count))
        buffer = (c.c_int32 * max(count.value, 1))()
        self.call("tsr_session_get_tokens", session, c.c_size_t(0), buffer, count, c.byref(count))
        return {"tokens": buffer[:count.value]}

    def do_token_count(self, step):
        count = c.c_size_t()
        self.call("tsr_session_token_count", self.handle(step["session"]), c.byref(count))
        return {"count": count.value}

    def do_logits(self, step):
        logits = self.sized(c.c_float, "tsr_session_get_logits", self.handle(step["session"]))
        return {"count": len(logits), "largest": logits.index(max(logits)),
                "first": [round(value, 4) for value in logits[:8]]}

    # Saved sessions.
    def do_save(self, step):
        with self.options(step) as options:
            state = bytes(self.sized(c.c_char, "tsr_session_save", self.handle(step["session"]), options))
        self.states[step["as"]] = state
        return {"size": len(state)}

    def do_read_state(self, step):
        self.states[step["as"]] = open(self.path(step["file"]), "rb").read()

    def do_same_state(self, step):
        return {"same": self.states[step["one"]] == self.states[step["two"]]}

    def do_damage_state(self, step):
        state = bytearray(self.states[step["state"]])
        state[step["at"]] ^= 1
        self.states[step["as"]] = bytes(state)

    def do_probe(self, step):
        state, info = self.states[step["state"]], StateInfo(struct_size=c.sizeof(StateInfo))
        self.call("tsr_state_probe", state, c.c_size_t(len(state)), c.byref(info))
        return {name: getattr(info, name) for name in (
            "size_bytes", "token_count", "cached_tokens", "version", "cache_type", "complete")}

    def do_restore(self, step):
        state, handle = self.states[step["state"]], c.c_void_p()
        with self.options(step) as options:
            self.call("tsr_session_restore", self.handle(step["engine"]), state, c.c_size_t(len(state)), options,
                      c.byref(handle))
        self.keep(step, "session", handle)

    # Engines and queues.
    def do_step(self, step):
        stats = StepStats(struct_size=c.sizeof(StepStats))
        for _ in range(step.get("times", 1)):
            self.call("tsr_engine_step", self.handle(step["engine"]), c.c_int64(-1), c.byref(stats))
        return {"work_left": stats.work_left}

    def do_step_until_idle(self, step):
        for _ in range(100000):
            if self.do_step(step)["work_left"] == 0:
                return
        raise AssertionError("the engine does not become idle")

    def do_poll(self, step):
        answers, buffer, used = {}, (c.c_uint64 * 8192)(), c.c_size_t()
        while True:
            self.call("tsr_queue_poll", self.handle(step["queue"]), c.c_int64(0), buffer, c.c_size_t(65536),
                      c.byref(used))
            if used.value == 0:
                return {"answers": self.answers(answers)}
            self.collect(buffer, used.value, answers)

    def do_wait(self, step):
        answers, buffer, used = {}, (c.c_uint64 * 8192)(), c.c_size_t()
        while sum("reason" in answer for answer in answers.values()) < step["finished"]:
            self.call("tsr_queue_wait", self.handle(step["queue"]), self.handle(step["engine"]),
                      c.c_int64(PATIENCE_NS), buffer, c.c_size_t(65536), c.byref(used))
            if used.value == 0:
                raise AssertionError("no event came")
            self.collect(buffer, used.value, answers)
        return {"answers": [{key: value for key, value in answer.items() if key not in step.get("without", [])}
                            for answer in self.answers(answers)]}

    def do_poll_together(self, step):
        queue, refused = self.handle(step["queue"]), []

        def poll(timeout):
            buffer, used = (c.c_uint64 * 512)(), c.c_size_t()
            try:
                self.call("tsr_queue_poll", queue, c.c_int64(timeout), buffer, c.c_size_t(4096), c.byref(used))
            except Refused as error:
                refused.append(error)

        while not refused:
            other = threading.Thread(target=poll, args=(PATIENCE_NS,))
            other.start()
            for _ in range(1000):
                if refused or not other.is_alive():
                    break
                poll(0)
            self.call("tsr_queue_wake", queue)
            other.join()
            poll(0)
        raise refused[0]

    def do_wake(self, step):
        self.call("tsr_queue_wake", self.handle(step["queue"]))

    def do_watched(self, step):
        return {"called": self.calls.get(step["key"], 0) > 0}

    def collect(self, buffer, used, answers):
        at, base = 0, c.addressof(buffer)
        while at < used:
            head = Event.from_address(base + at)
            answer = answers.setdefault(head.tag, {"tag": head.tag, "tokens": [], "text": ""})
            if "reason" in answer:
                raise AssertionError("an event after the last one")
            if head.kind == 1:
                event = EventTokens.from_address(base + at)
                read = lambda kind, count, offset: (kind * count).from_address(base + at + offset)[:]
                answer["tokens"] += read(c.c_int32, event.token_count, event.token_offset)
                answer["text"] += c.string_at(base + at + event.text_offset, event.text_size).decode()
                if event.logprob_offset:
                    answer.setdefault("logprobs", []).extend(
                        round(v, 4) for v in read(c.c_float, event.token_count, event.logprob_offset))
                if event.top_offset:
                    pairs = read(TokenLogprob, event.token_count * event.top_count, event.top_offset)
                    answer.setdefault("top", []).extend(
                        [[p.token, round(p.logprob, 4)] for p in pairs[i:i + event.top_count]]
                        for i in range(0, len(pairs), event.top_count))
            elif head.kind == 2:
                event = EventFinished.from_address(base + at)
                answer.update(reason=self.reasons[event.reason], status=self.names[event.status],
                              prompt_tokens=event.prompt_tokens, generated_tokens=event.generated_tokens,
                              last_token=event.last_token)
            at += head.size

    @staticmethod
    def answers(answers):
        return [answers[tag] for tag in sorted(answers)]


class Options:
    """A set of options for one call, from a list of [type, key, value]."""

    def __init__(self, steps, entries):
        self.steps, self.entries, self.handle = steps, entries, c.c_void_p()

    def __enter__(self):
        steps = self.steps
        steps.call("tsr_options_create", c.byref(self.handle))
        try:
            for kind, key, value in self.entries:
                self.set(kind, key.encode(), value)
        except Refused:
            self.__exit__()
            raise
        return self.handle

    def __exit__(self, *_):
        self.steps.lib.tsr_options_release(self.handle)

    def set(self, kind, key, value):
        call, head = self.steps.call, (self.handle, key, c.c_size_t(len(key)))
        if kind == "int":
            call("tsr_options_set_int", *head, c.c_int64(value))
        elif kind == "float":
            call("tsr_options_set_float", *head, c.c_double(value))
        elif kind == "bool":
            call("tsr_options_set_bool", *head, c.c_int32(value))
        elif kind == "string":
            data = value.encode()
            call("tsr_options_set_string", *head, data, c.c_size_t(len(data)))
        elif kind == "ints":
            call("tsr_options_set_int_list", *head, (c.c_int64 * len(value))(*value), c.c_size_t(len(value)))
        elif kind == "floats":
            call("tsr_options_set_float_list", *head, (c.c_double * len(value))(*value), c.c_size_t(len(value)))
        elif kind == "strings":
            data = [text.encode() for text in value]
            call("tsr_options_set_string_list", *head, (c.c_char_p * len(data))(*data),
                 (c.c_size_t * len(data))(*map(len, data)), c.c_size_t(len(data)))
        else:
            self.set_callbacks(head, key.decode(), value)

    def set_callbacks(self, head, key, value):
        calls, stop = self.steps.calls, value == "stop"

        def called(*_):
            calls[key] = calls.get(key, 0) + 1
            return 1 if stop else 0

        kinds = {"runtime.log": (LogCallbacks, LogCallbacks.WRITE),
                 "model.progress": (ProgressCallbacks, ProgressCallbacks.CALL),
                 "queue.on_ready": (ReadyCallbacks, ReadyCallbacks.CALL)}
        table_type, function = kinds[key]
        body = called if table_type is ProgressCallbacks else lambda *a: (called(*a), None)[1]
        table = table_type(c.sizeof(table_type), None, None, function(body))
        self.steps.kept.append(table)
        self.steps.call("tsr_options_set_callbacks", *head, c.byref(table))

#!/usr/bin/env python3
"""Runs the conformance scenarios through the Python binding. Usage: conformance.py SCENARIOS.json FOLDER"""

import itertools
import json
import math
import os
import sys
import threading

import tessera

MODEL_FIELDS = ("parameters", "vocabulary_size", "context_tokens", "layers", "hidden_size", "bos_token", "end_token",
                "hash", "tokenizer_hash", "device")
STATE_FIELDS = ("size_bytes", "token_count", "cached_tokens", "version", "cache_type", "complete")


def same(expected, found, tolerance):
    if isinstance(expected, float) or isinstance(found, float):
        return isinstance(found, (int, float)) and math.isclose(expected, found, rel_tol=0, abs_tol=tolerance)
    if isinstance(expected, dict):
        return isinstance(found, dict) and expected.keys() == found.keys() and all(
            same(value, found[key], tolerance) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(found, (list, tuple)) and len(expected) == len(found) and all(
            same(*pair, tolerance) for pair in zip(expected, found))
    return type(expected) is type(found) and expected == found


def plain(value):
    return value.hex() if isinstance(value, bytes) else value


class Scenario:
    def __init__(self, folder, beside):
        self.folders, self.things, self.calls = (folder, beside), {}, {}

    def run(self, step):
        return getattr(self, step["do"])(step) or {}

    def end(self):
        for thing in self.things.values():
            if hasattr(thing, "release"):
                thing.release()

    def path(self, step):
        paths = [os.path.join(folder, step["file"]) for folder in self.folders]
        return next((path for path in paths if os.path.exists(path)), paths[0])

    def of(self, step, key):
        return self.things[step[key]]

    def options(self, step):
        return {key: self.callback(key, value) if kind == "callbacks" else value
                for kind, key, value in step.get("options", [])}

    def callback(self, key, value):
        self.calls[key] = 0

        def called(*_):
            self.calls[key] += 1
            return value != "stop"

        return called

    def flags(self, step):
        return {flag.lower(): True for flag in step.get("flags", [])}

    def keep(self, step, thing):
        self.things[step["as"]] = thing

    def runtime(self, step):
        self.keep(step, tessera.Runtime(options=self.options(step)))

    def load(self, step):
        path, source = self.path(step), step.get("from", "file")
        make = lambda what: self.keep(step, tessera.Model(
            what, runtime=self.of(step, "runtime"), options=self.options(step)))
        if source == "file":
            return make(path)
        with open(path, "rb") as file:
            if source == "descriptor":
                return make(file)
            data = file.read()
        if source == "memory":
            return make(data)

        def read_into(offset, buffer):
            memoryview(buffer).cast("B")[:] = data[offset:offset + len(buffer)]
            return len(buffer)

        return make(tessera.Reader(len(data), read_into))

    def engine(self, step):
        self.keep(step, tessera.Engine(self.of(step, "model"), options=self.options(step)))

    def queue(self, step):
        self.keep(step, tessera.Queue(self.of(step, "runtime"), options=self.options(step)))

    def session(self, step):
        self.keep(step, self.of(step, "engine").session(options=self.options(step)))

    def fork(self, step):
        self.keep(step, self.of(step, "session").fork(options=self.options(step)))

    def close(self, step):
        self.of(step, "name").close()

    def release(self, step):
        self.things.pop(step["name"]).release()

    def model_info(self, step):
        info = self.of(step, "model").info
        return {name: plain(getattr(info, name)) for name in MODEL_FIELDS}

    def metadata(self, step):
        values = self.of(step, "model").metadata.elements(step["key"])
        return {"count": len(values), "first": values[:8]}

    def tokenize(self, step):
        return {"tokens": self.of(step, "model").tokenize(step["text"], **self.flags(step))}

    def detokenize(self, step):
        return {"text": self.of(step, "model").detokenize(step["tokens"], show_special="flags" in step)}

    def chat_template(self, step):
        return {"text": self.of(step, "model").apply_chat_template(step["messages"], options=self.options(step))}

    def append_text(self, step):
        if "bytes" in step:
            self.of(step, "session").append_utf8(bytes.fromhex(step["bytes"]))
        else:
            self.of(step, "session").append(step["text"], **self.flags(step))

    def append_tokens(self, step):
        self.of(step, "session").append(step["tokens"])

    def append_chat(self, step):
        self.of(step, "session").append_chat(step["messages"], options=self.options(step))

    def generate(self, step):
        self.of(step, "session").submit(self.of(step, "queue"), step["tag"], self.options(step))

    def wait(self, step):
        queue, engine, events = self.of(step, "queue"), self.of(step, "engine"), []
        while sum(isinstance(event, tessera.Finished) for event in events) < step["finished"]:
            events += queue.wait(engine, timeout=100) or [None]
        return self.answers(events, step.get("without", []))

    def poll(self, step):
        return self.answers(itertools.chain.from_iterable(iter(lambda: self.of(step, "queue").poll(), [])), [])

    def answers(self, events, without):
        answers = {}
        for event in events:
            if event is None:
                raise AssertionError("no event came")
            answer = answers.setdefault(event.tag, {"tag": event.tag, "tokens": [], "text": ""})
            if "reason" in answer:
                raise AssertionError("an event after the last one")
            if isinstance(event, tessera.Chunk):
                answer["tokens"] += event.tokens
                answer["text"] += event.text
                for key in ("logprobs", "top"):
                    if getattr(event, key) is not None:
                        answer.setdefault(key, []).extend(getattr(event, key))
            else:
                answer.update(reason="TSR_FINISH_" + event.reason.name, status="TSR_STATUS_" + event.status.name,
                              prompt_tokens=event.prompt_tokens, generated_tokens=event.generated_tokens,
                              last_token=event.last_token)
        return {"answers": [{key: value for key, value in answers[tag].items() if key not in without}
                            for tag in sorted(answers)]}

    def poll_together(self, step):
        queue, refused = self.of(step, "queue"), []

        def poll(timeout):
            try:
                queue.poll(timeout)
            except tessera.TesseraError as error:
                refused.append(error)

        while not refused:
            other = threading.Thread(target=poll, args=(100,))
            other.start()
            for _ in range(1000):
                if refused or not other.is_alive():
                    break
                poll(0)
            queue.wake()
            other.join()
            poll(0)
        raise refused[0]

    def step(self, step):
        for _ in range(step.get("times", 1)):
            stats = self.of(step, "engine").step()
        return {"work_left": int(stats.work_left)}

    def step_until_idle(self, step):
        while self.of(step, "engine").step().work_left:
            pass

    def cancel(self, step):
        self.of(step, "session").cancel(drop=step["effect"] == "DROP")

    def rewind(self, step):
        self.of(step, "session").rewind(step["count"])

    def park(self, step):
        self.of(step, "session").park()

    def tokens(self, step):
        return {"tokens": self.of(step, "session").tokens}

    def token_count(self, step):
        return {"count": len(self.of(step, "session"))}

    def logits(self, step):
        logits = self.of(step, "session").logits().tolist()
        return {"count": len(logits), "largest": logits.index(max(logits)), "first": logits[:8]}

    def save(self, step):
        state = self.of(step, "session").save(options=self.options(step))
        self.keep(step, state)
        return {"size": len(state)}

    def read_state(self, step):
        with open(self.path(step), "rb") as file:
            self.keep(step, file.read())

    def damage_state(self, step):
        state = bytearray(self.of(step, "state"))
        state[step["at"]] ^= 1
        self.keep(step, bytes(state))

    def same_state(self, step):
        return {"same": self.of(step, "one") == self.of(step, "two")}

    def probe(self, step):
        info = tessera.probe(self.of(step, "state"))
        return {name: info[name] for name in STATE_FIELDS}

    def restore(self, step):
        self.keep(step, self.of(step, "engine").restore(self.of(step, "state"), options=self.options(step)))

    def watched(self, step):
        return {"called": self.calls[step["key"]] > 0}


def difference(scenario, step, tolerance):
    """None, or what is not as expected."""
    expected = step.get("expect", {})
    try:
        found = scenario.run(step)
    except tessera.TesseraError as error:
        right = (expected.get("status") == "TSR_STATUS_" + error.code.name and
                 expected.get("place", error.place) == error.place)
        return None if right else "found %s: %s (%s)" % (error.code.name, error, error.place)
    return None if not expected or same(expected, found, tolerance) else "found %r" % (found,)


def main():
    path, folder = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    failures = 0
    for entry in document["scenarios"]:
        scenario, wrong = Scenario(folder, os.path.dirname(path)), None
        for number, step in enumerate(entry["steps"]):
            wrong = difference(scenario, step, document["tolerance"])
            if wrong:
                break
        scenario.end()
        print("FAILED %s: step %d %s\n  %s" % (entry["name"], number, json.dumps(step), wrong) if wrong
              else "ok " + entry["name"])
        failures += wrong is not None
    print("%d scenarios, %d failed" % (len(document["scenarios"]), failures))
    sys.exit(failures != 0 or not document["scenarios"])


if __name__ == "__main__":
    main()

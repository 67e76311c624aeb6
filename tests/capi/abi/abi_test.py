"""The description of the ABI: up to date, released entries kept, in the library; and that scripts/abi notices breaks.
Usage: abi_test.py SCRIPT [LIBRARY]. Without LIBRARY what it carries is not looked at."""

import copy
import ctypes
import importlib.machinery
import importlib.util
import subprocess
import sys
import unittest

SCRIPT, *LIBRARY = sys.argv[1:]
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("abi", SCRIPT)
abi = importlib.util.module_from_spec(importlib.util.spec_from_loader("abi", loader))
loader.exec_module(abi)


def entry(description, kind, name):
    return next(e for e in description[kind] if e["name"] == name)


class Abi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.now = abi.describe()

    # Given a copy that `change` has changed, what is said of it.
    def said_of(self, change):
        changed = copy.deepcopy(self.now)
        change(changed)
        return abi.broken_promises(self.now, changed)

    def test_the_description_in_git_is_the_headers_and_what_was_released_is_kept(self):
        self.assertEqual(subprocess.run([sys.executable, SCRIPT, "check"], check=False).returncode, 0)

    @unittest.skipUnless(LIBRARY, "the library cannot be loaded here")
    def test_the_library_carries_the_description(self):
        describe = ctypes.CDLL(LIBRARY[0]).tsr_abi_describe
        describe.restype = ctypes.c_char_p
        size = ctypes.c_size_t()
        text = describe(ctypes.byref(size))
        self.assertEqual(text.decode(), abi.read(abi.CURRENT))
        self.assertEqual(len(text), size.value)
        self.assertEqual(describe(None), text)

    def test_nothing_is_said_of_the_same_or_of_additions(self):
        self.assertEqual(self.said_of(lambda d: None), [])

        def add(d):
            d["functions"].insert(3, dict(d["functions"][0], name="tsr_new"))
            d["constants"].insert(3, dict(d["constants"][0], name="TSR_STATUS_NEW", value=99))
            info = entry(d, "structs", "tsr_model_info")
            info["fields"].append({"name": "more", "type": "uint64_t", "offset": info["size"], "size": 8})
            info["size"] += 8

        self.assertEqual(self.said_of(add), [])

    def test_a_change_of_what_programs_were_built_with_is_named(self):
        def field(d, struct, index):
            return entry(d, "structs", struct)["fields"][index]

        def grow(d):
            entry(d, "structs", "tsr_token_logprob")["size"] += 8

        for change, named in (
                (lambda d: d["functions"].pop(5), "tsr_error_message"),
                (lambda d: entry(d, "functions", "tsr_queue_wake")["parameters"].pop(), "tsr_queue_wake: parameters"),
                (lambda d: entry(d, "functions", "tsr_queue_poll").update(thread=["stepper"]), "tsr_queue_poll: thread"),
                (lambda d: entry(d, "functions", "tsr_state_probe").update(callback_safe=False), "callback_safe"),
                (lambda d: entry(d, "constants", "TSR_STATUS_BUSY").update(value=15), "TSR_STATUS_BUSY: value"),
                (lambda d: d["constants"].pop(0), "TSR_STATUS_OK is gone"),
                (lambda d: d["handles"].remove("tsr_queue"), "tsr_queue is gone"),
                (lambda d: entry(d, "aliases", "tsr_status").update(type="int64_t"), "tsr_status: type"),
                (lambda d: field(d, "tsr_plan", 2).update(offset=999), "tsr_plan"),
                (lambda d: field(d, "tsr_reader", 4)["callback"].update(returns="int32_t"), "tsr_reader"),
                (lambda d: entry(d, "structs", "tsr_event_tokens")["fields"].insert(
                    1, {"name": "new", "type": "uint64_t", "offset": 16, "size": 8}), "tsr_event_tokens"),
                (grow, "tsr_token_logprob: its size")):
            said = self.said_of(change)
            self.assertEqual(len(said), 1, said)
            self.assertIn(named, said[0])

    def test_every_function_has_a_thread_class_and_every_public_name_is_there(self):
        self.assertGreater(len(self.now["functions"]), 60)
        for function in self.now["functions"]:
            self.assertTrue(set(function["thread"]) <= {"any", "session", "poller", "stepper", "options"}, function)
        names = {e["name"] for kind in ("functions", "constants", "structs", "aliases") for e in self.now[kind]}
        names |= set(self.now["handles"])
        header = abi.without_comments(abi.read(abi.HEADER))
        for name in set(abi.re.findall(r"\b(?:tsr|TSR)_\w+", header)) - {"TSR_API"}:
            self.assertIn(name, names)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

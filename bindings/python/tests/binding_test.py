"""What the Python binding adds to the C API: exceptions, iteration, asyncio, callbacks that raise, handles that may be
closed at any time. Usage: binding_test.py MODELS_FOLDER"""

import asyncio
import gc
import io
import os
import sys
import threading
import unittest
import weakref

import tessera
from tessera import _abi, _options

FOLDER = sys.argv.pop()
MODEL = os.path.join(FOLDER, "tiny.gguf")
KEEP_ON = {"request.ignore_end": True}


# With log-probabilities of 20 alternatives, 200 tokens do not fit in a queue: the request pauses before its end.
def generate(session, prompt="hello", tokens=8, **more):
    return session.generate(prompt, max_tokens=tokens, options=KEEP_ON, **more)


class Quiet:
    """What callbacks raise is reported by sys.unraisablehook; here it is collected instead."""

    def __enter__(self):
        self.seen, self.before = [], sys.unraisablehook
        sys.unraisablehook = self.seen.append
        return self.seen

    def __exit__(self, *_):
        sys.unraisablehook = self.before


class Abi(unittest.TestCase):
    def test_structures_have_the_layout_that_c_compilers_give_them(self):
        self.assertGreater(len(_abi.LAYOUTS), 10)
        for structure, (size, offsets) in _abi.LAYOUTS.items():
            self.assertEqual(_abi.c.sizeof(structure), size, structure)
            for field, offset in offsets.items():
                self.assertEqual(getattr(structure, field).offset, offset, (structure, field))

    def test_every_function_of_the_library_is_declared(self):
        self.assertEqual([f["name"] for f in tessera.abi()["functions"]], list(_abi.FUNCTIONS))
        self.assertEqual({"TSR_STATUS_" + s.name: int(s) for s in tessera.Status},
                         {e["name"]: e["value"] for e in tessera.abi()["constants"] if e["group"] == "TSR_STATUS_"})


class Errors(unittest.TestCase):
    def test_a_missing_file_raises_not_found_with_its_place(self):
        with self.assertRaises(tessera.NotFound) as raised:
            tessera.Model("no/such/file")
        self.assertEqual(raised.exception.place, "no/such/file")
        self.assertEqual(raised.exception.code, tessera.Status.NOT_FOUND)
        self.assertIsInstance(raised.exception, LookupError)

    def test_an_unknown_setting_a_wrong_type_and_a_mixed_list_are_value_errors(self):
        for options in ({"no.such.key": 1}, {"runtime.threads": "two"}, {"runtime.threads": 1.5},
                        {"runtime.threads": 1 << 80}, {"runtime.threads": [1, "a"]}, {"runtime.threads": print}):
            with self.assertRaises(ValueError) as raised:
                tessera.Runtime(options=options)
            self.assertIn(next(iter(options)), raised.exception.place)

    def test_a_missing_metadata_key_is_a_key_error_and_the_mapping_behaves(self):
        metadata = tessera.Model(MODEL).metadata
        with self.assertRaises(KeyError):
            metadata["no.such.key"]
        self.assertEqual(metadata["general.architecture"], "llama")
        self.assertIsNone(metadata.get("no.such.key"))
        self.assertNotIn("no.such.key", metadata)
        self.assertEqual(len(metadata["tokenizer.ggml.tokens"]), 300)
        self.assertEqual(len(list(metadata)), len(metadata))


class Callbacks(unittest.TestCase):
    def test_what_a_progress_callback_raises_the_constructor_raises(self):
        def progress(done, total):
            raise ZeroDivisionError("host")

        with Quiet() as seen, self.assertRaises(ZeroDivisionError):
            tessera.Model(MODEL, progress=progress)
        self.assertEqual(len(seen), 1)

    def test_a_progress_callback_that_answers_false_ends_the_load_and_none_does_not(self):
        with self.assertRaises(tessera.Cancelled):
            tessera.Model(MODEL, progress=lambda done, total: False)
        seen = []
        tessera.Model(MODEL, progress=lambda done, total: seen.append((done, total)))
        self.assertEqual(seen[-1][0], seen[-1][1])

    def test_what_a_reader_raises_the_constructor_raises(self):
        def read_into(offset, buffer):
            raise io.UnsupportedOperation("host")

        with Quiet(), self.assertRaises(io.UnsupportedOperation):
            tessera.Model(tessera.Reader(4096, read_into))

    def test_the_library_gives_callbacks_back_also_when_a_call_fails(self):
        class Ready:
            def __call__(self):
                pass

        gc.collect()
        before = len(_options._held)
        ready = Ready()
        gone = weakref.ref(ready)
        queue = tessera.Queue(tessera.Runtime(), on_ready=ready)
        with self.assertRaises(tessera.InvalidArgument):
            tessera.Model(MODEL, progress=lambda *_: None, options={"no.such.key": 1})
        del ready
        self.assertIsNotNone(gone())
        queue.close()
        del queue
        gc.collect()
        self.assertIsNone(gone())
        self.assertEqual(len(_options._held), before)


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = tessera.Model(MODEL)
        cls.engine = cls.model.engine(threads=1)

    def test_generate_iterates_over_chunks_and_then_has_a_result(self):
        session = self.engine.session()
        generation = generate(session)
        tokens = [token for chunk in generation for token in chunk.tokens]
        self.assertEqual(len(tokens), 8)
        self.assertEqual(generation.result.reason, tessera.FinishReason.LENGTH)
        self.assertEqual(session.tokens[-8:], tokens)
        self.assertEqual(list(generation), [])

    def test_a_stepped_engine_generates_the_same_text(self):
        text = generate(self.engine.session()).text()
        stepped = self.model.engine(threads=1, stepped=True)
        self.assertEqual(generate(stepped.session()).text(), text)
        self.assertTrue(text)

    def test_left_early_a_generation_is_cancelled_and_the_session_goes_on(self):
        session = self.engine.session()
        with generate(session, tokens=200, logprobs=20) as generation:
            next(generation)
        self.assertEqual(generation.result.reason, tessera.FinishReason.CANCELLED)
        self.assertEqual(sum(len(chunk.tokens) for chunk in generate(session, " and", tokens=3)), 3)
        other = self.engine.session()
        next(generate(other, tokens=200, logprobs=20))  # dropped at once
        gc.collect()
        self.assertEqual(sum(len(chunk.tokens) for chunk in generate(other, " and", tokens=3)), 3)

    def test_whole_numbers_do_for_settings_that_are_not(self):
        session = self.engine.session()
        self.assertTrue(generate(session, temperature=1, seed=3, top_p=1).text())
        with self.assertRaises(tessera.InvalidArgument):
            generate(session, temperature="warm")

    def test_log_probabilities_come_with_chunks(self):
        chunk = next(generate(self.engine.session(), logprobs=2))
        self.assertEqual(chunk.top[0][0], (chunk.tokens[0], chunk.logprobs[0]))
        self.assertEqual(len(chunk.top[0]), 2)

    def test_logits_are_had_without_a_copy_of_what_the_library_wrote(self):
        session = self.engine.session(logits=True)
        [token] = [token for chunk in session.generate([5, 6], max_tokens=1) for token in chunk.tokens]
        logits = session.logits()
        self.assertEqual(len(logits), self.model.info.vocabulary_size)
        values = logits.tolist()
        self.assertEqual(values.index(max(values)), token)
        if type(logits).__module__ == "numpy":
            self.assertFalse(logits.flags.owndata)

    def test_a_deadline_ends_a_request(self):
        generation = generate(self.engine.session(), tokens=200, deadline=1e-9)
        list(generation)
        self.assertEqual(generation.result.reason, tessera.FinishReason.DEADLINE)

    def test_a_state_is_restored_and_probed(self):
        session = self.engine.session()
        generate(session).text()
        state = session.save()
        self.assertEqual(tessera.probe(state)["token_count"], len(session))
        restored = self.engine.restore(state)
        self.assertEqual(generate(restored, "").text(), generate(session, "").text())


class Asyncio(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.engine = tessera.Model(MODEL).engine(threads=1)

    async def test_many_requests_run_in_one_loop_and_give_what_each_gives_alone(self):
        async def ask(number):
            return [token async for chunk in generate(self.engine.session(), "hello %d" % number)
                    for token in chunk.tokens]

        answers = await asyncio.gather(*map(ask, range(20)))
        for number, answer in enumerate(answers):
            alone = [t for chunk in generate(self.engine.session(), "hello %d" % number) for t in chunk.tokens]
            self.assertEqual(answer, alone)

    async def test_a_cancelled_task_cancels_its_request(self):
        session = self.engine.session()

        async def forget():
            async for _ in generate(session, tokens=200, logprobs=20):
                pass

        task = asyncio.ensure_future(forget())
        await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(sum(len(chunk.tokens) for chunk in generate(session, " and", tokens=3)), 3)  # not Busy

    async def test_a_generation_left_early_is_cancelled(self):
        async with generate(self.engine.session(), tokens=200, logprobs=20) as generation:
            async for _ in generation:
                break
        self.assertEqual(generation.result.reason, tessera.FinishReason.CANCELLED)


    async def test_a_second_task_that_waits_for_a_queue_is_refused_and_a_wake_up_ends_the_first(self):
        queue = tessera.Queue(self.engine.model.runtime)
        first = asyncio.ensure_future(queue.events())
        await asyncio.sleep(0)
        with self.assertRaises(tessera.Busy):
            await queue.events()
        queue.wake()
        self.assertEqual(await first, [])


class Handles(unittest.TestCase):
    def test_closed_twice_is_closed_once_and_use_afterwards_raises_closed(self):
        model = tessera.Model(MODEL)
        engine = model.engine(threads=1)
        session = engine.session()
        session.close()
        session.close()
        for use in (lambda: session.append("x"), lambda: len(session), session.save, lambda: session.generate("x")):
            with self.assertRaises(tessera.Closed):
                use()
        engine.close()
        engine.close()
        with self.assertRaises(tessera.Closed):
            engine.session()
        model.close()
        with self.assertRaises(tessera.Closed):
            model.info

    def test_a_handle_that_another_thread_uses_is_released_when_that_call_is_over(self):
        queue = tessera.Queue(tessera.Runtime())
        outcomes = []
        began = threading.Event()

        def poll():
            began.set()
            outcomes.append(queue.poll(None))

        thread = threading.Thread(target=poll)
        thread.start()
        began.wait()
        while queue._users == 0:
            pass
        pinned = queue._pin()
        queue.close()
        self.assertTrue(queue._finalizer.alive)
        tessera._library.library.tsr_queue_wake(pinned, None)
        thread.join()
        self.assertEqual(outcomes, [[]])
        queue._unpin()
        self.assertFalse(queue._finalizer.alive)

    def test_a_child_of_fork_gets_forked_and_the_parent_goes_on(self):
        session = tessera.Model(MODEL).engine(threads=1).session()
        child = os.fork()
        if child == 0:
            try:
                session.append("x")
                os._exit(1)
            except tessera.TesseraError as error:
                os._exit(0 if error.code == tessera.Status.FORKED else 2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(sum(len(chunk.tokens) for chunk in generate(session)), 8)

    def test_a_thousand_cycles_leave_no_thread_and_no_descriptor(self):
        model = tessera.Model(MODEL)
        engine = model.engine(threads=1)
        count = lambda folder: len(os.listdir("/proc/self/" + folder))

        def cycle():
            with engine.session() as session:
                generate(session, tokens=2).text()

        cycle()
        gc.collect()
        threads, descriptors = count("task"), count("fd")
        for _ in range(1000):
            cycle()
        gc.collect()
        self.assertEqual((count("task"), count("fd")), (threads, descriptors))
        self.assertEqual(engine.metrics["sessions"], 0)


class Planning(unittest.TestCase):
    def test_a_plan_is_the_same_from_a_path_bytes_a_file_and_a_reader(self):
        with open(MODEL, "rb") as file:
            data = file.read()

            def read_into(offset, buffer):
                memoryview(buffer).cast("B")[:] = data[offset:offset + len(buffer)]
                return len(buffer)

            plans = [tessera.plan(source)["host_weight_bytes"]
                     for source in (MODEL, data, file, tessera.Reader(len(data), read_into))]
        self.assertEqual(len(set(plans)), 1)
        self.assertEqual(plans[0], tessera.Model(MODEL).info.weight_bytes)


if __name__ == "__main__":
    unittest.main()

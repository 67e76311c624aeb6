"""The conformance scenarios without their results: what every binding is asked to do. make.py adds the results."""

REFERENCE = [["string", "model.device", "reference"]]
ENGINE = [["int", "engine.threads", 1]]
STEPPED = ENGINE + [["bool", "engine.stepped", True]]
PROMPT = "hello, the world of"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 12 <|im_end|>?"}]


def do(what, **step):
    return {"do": what, **step}


def host(engine=ENGINE, model="tiny.gguf"):
    """A runtime r, a model m, an engine e, a queue q, a session s."""
    return [do("runtime", **{"as": "r"}),
            do("load", **{"as": "m"}, runtime="r", file=model, options=REFERENCE),
            do("engine", **{"as": "e"}, model="m", options=engine),
            do("queue", **{"as": "q"}, runtime="r"),
            do("session", **{"as": "s"}, engine="e")]


def text(value=PROMPT, session="s", **more):
    return do("append_text", session=session, text=value, **more)


def generate(*options, session="s", tag=1, queue="q", tokens=24):
    return do("generate", session=session, queue=queue, tag=tag,
              options=[["int", "request.max_tokens", tokens], *map(list, options)])


def wait(finished=1, queue="q", engine="e", **more):
    return do("wait", queue=queue, engine=engine, finished=finished, **more)


def load(name, **step):
    return do("load", **{"as": name}, runtime="r", **step)


def named(what, name, **step):
    return do(what, **{"as": name}, **step)


KEEP_ON = ("bool", "request.ignore_end", True)
WARM = ("float", "sampling.temperature", 0.9)


def scenarios():
    return [
        ("load", "A model is loaded from a file, a descriptor, memory and a reader, and says what it is", [
            named("runtime", "r"), load("a", file="tiny.gguf", options=REFERENCE),
            load("b", file="tiny.gguf", **{"from": "descriptor"}),
            load("c", file="tiny.gguf", **{"from": "memory"}),
            load("d", file="tiny.gguf", **{"from": "reader"}),
            do("model_info", model="a"), do("model_info", model="d"), load("o", file="other.gguf"),
            do("model_info", model="o"),
            do("metadata", model="a", key="general.architecture"), do("metadata", model="a", key="llama.block_count"),
            do("metadata", model="a", key="llama.rope.freq_base"),
            do("metadata", model="a", key="tokenizer.ggml.tokens"), do("metadata", model="a", key="no.such.key")]),
        ("refused_files", "Broken and missing files are refused with a status", [
            named("runtime", "r"), load("a", file="truncated.gguf"), load("b", file="wrong_magic.gguf"),
            load("c", file="wrong_version.gguf"), load("d", file="missing.gguf"),
            load("e", file="truncated.gguf", **{"from": "memory"}),
            load("f", file="wrong_magic.gguf", **{"from": "reader"})]),
        ("refused_settings", "An unknown key, a wrong type, a bad value and another call's key are refused, and named", [
            named("runtime", "x", options=[["int", "runtime.no_such_key", 1]]),
            named("runtime", "y", options=[["string", "runtime.threads", "two"]]),
            named("runtime", "z", options=[["int", "runtime.threads", -1]]),
            named("runtime", "r"), load("n", file="tiny.gguf", options=[["int", "engine.threads", 1]]),
            load("d", file="tiny.gguf", options=[["string", "model.device", "abacus"]]),
            load("m", file="tiny.gguf", options=REFERENCE),
            named("engine", "f", model="m", options=[["string", "engine.cache_type", "f8"]]),
            named("engine", "e", model="m", options=ENGINE), named("queue", "q", runtime="r"),
            named("session", "s", engine="e"), text(),
            generate(("float", "sampling.top_p", 1.5)), generate(("float", "sampling.temperature", -1.0)),
            do("token_count", session="s")]),
        ("callbacks", "A progress callback is called and can end a load; a ready callback is called", [
            named("runtime", "r", options=[["callbacks", "runtime.log", "watch"]]),
            load("a", file="tiny.gguf", options=[["callbacks", "model.progress", "stop"]]),
            load("m", file="tiny.gguf", options=REFERENCE + [["callbacks", "model.progress", "watch"]]),
            do("watched", key="model.progress"), named("engine", "e", model="m", options=ENGINE),
            named("queue", "q", runtime="r", options=[["callbacks", "queue.on_ready", "watch"]]),
            named("session", "s", engine="e"), text(), generate(tokens=4), wait(), do("watched", key="queue.on_ready")]),
        ("tokenizer", "Text becomes tokens and comes back; special tokens count where that is asked for", [
            named("runtime", "r"), load("m", file="tiny.gguf"), load("o", file="other.gguf"),
            do("tokenize", model="m", text="hello, the wörld 12"), do("tokenize", model="m", text=""),
            do("tokenize", model="m", text="<|im_start|>hi<|im_end|>"),
            do("tokenize", model="m", text="<|im_start|>hi<|im_end|>", flags=["PARSE_SPECIAL"]),
            do("tokenize", model="o", text="the", flags=["ADD_SPECIAL"]),
            do("detokenize", model="m", tokens=[1, 107, 108, 2], flags=["PARSE_SPECIAL"]),
            do("detokenize", model="m", tokens=[1, 107, 108, 2]),
            do("detokenize", model="m", tokens=[70000])]),
        ("greedy", "Greedy generation gives these tokens and this text", host() + [
            text(), generate(KEEP_ON), wait(), do("tokens", session="s")]),
        ("greedy_stepped", "A stepped engine gives the same tokens, one more with each step", host(STEPPED) + [
            text(), generate(KEEP_ON), do("step", engine="e"), do("poll", queue="q"), do("step", engine="e"),
            do("poll", queue="q"), wait(), do("tokens", session="s")]),
        ("turns", "A session goes on after an answer", host() + [
            text(), generate(KEEP_ON, tokens=8), wait(), text(" and the", "s"), generate(KEEP_ON, tokens=8, tag=2), wait(),
            do("token_count", session="s")]),
        ("sampled", "Sampling with a seed draws these tokens, and other ones with another seed", host() + [
            text(), generate(KEEP_ON, WARM, ("int", "sampling.seed", 1)), wait(),
            do("rewind", session="s", count=10), generate(KEEP_ON, WARM, ("int", "sampling.seed", 1), tag=2), wait(),
            do("rewind", session="s", count=10), generate(KEEP_ON, WARM, ("int", "sampling.seed", -9), tag=3), wait()]),
        ("sampling_settings", "Every setting of sampling has its effect", host() + [
            text(), *[step for tag, extra in enumerate([
                [("int", "sampling.top_k", 3)], [("float", "sampling.top_p", 0.5)], [("float", "sampling.min_p", 0.2)],
                [("float", "sampling.repetition_penalty", 1.5), ("int", "sampling.penalty_window", 16)],
                [("float", "sampling.presence_penalty", 2.0)], [("float", "sampling.frequency_penalty", 2.0)],
                [("ints", "sampling.logit_bias_tokens", [100, 101]), ("floats", "sampling.logit_bias_values", [50.0, -50.0])],
            ]) for step in (do("rewind", session="s", count=10),
                            generate(KEEP_ON, WARM, ("int", "sampling.seed", 5), *extra, tag=tag, tokens=12), wait())]]),
        ("stop_strings", "A stop string ends the text before it; a stop token ends the request", "stops"),
        ("end_of_text", "The model's end token ends its turn", host() + [
            text(), generate(("ints", "sampling.logit_bias_tokens", [2]), ("floats", "sampling.logit_bias_values", [1000.0])),
            wait(), do("tokens", session="s")]),
        ("length_zero", "With max_tokens 0 the prompt is computed and nothing is generated", host() + [
            text(), generate(tokens=0), wait(), do("token_count", session="s")]),
        ("context_full", "A request ends where the context is full", host(ENGINE + [["int", "engine.context_tokens", 16]]) + [
            text(), generate(KEEP_ON, tokens=-1), wait(), do("token_count", session="s"), text("more")]),
        ("log_probabilities", "Each token has its log-probability and those of the alternatives", host() + [
            text(), generate(KEEP_ON, ("int", "request.top_logprobs", 2), tokens=4), wait(),
            text("x"), generate(KEEP_ON, ("int", "request.top_logprobs", 0), tokens=2, tag=2), wait()]),
        ("logits", "The last logits can be read where the session keeps them", host() + [
            do("logits", session="s"), named("session", "l", engine="e", options=[["bool", "session.logits", True]]),
            do("logits", session="l"), text(session="l"), generate(tokens=1, session="l"), wait(),
            do("logits", session="l")]),
        ("cancel", "A cancelled request keeps or drops what it generated", host(STEPPED) + [
            text(), generate(KEEP_ON), do("step", engine="e", times=5), do("cancel", session="s", effect="KEEP"),
            do("poll", queue="q"), do("step_until_idle", engine="e"), do("token_count", session="s"),
            generate(KEEP_ON, tag=2), do("step", engine="e", times=5), do("cancel", session="s", effect="DROP"),
            do("poll", queue="q"), do("step_until_idle", engine="e"), do("token_count", session="s"),
            do("cancel", session="s", effect="KEEP")]),
        ("deadline", "A request whose time has passed ends so", host(STEPPED) + [
            text(), generate(("int", "request.deadline_ns", 1)), wait(), do("token_count", session="s")]),
        ("fork", "A fork goes on as its origin would, and both go their own ways", host() + [
            text(), generate(KEEP_ON, tokens=4), wait(), named("fork", "f", session="s"),
            text(" the", "s"), text(" hello", "f"), generate(KEEP_ON, tokens=6, tag=2), generate(KEEP_ON, session="f", tokens=6, tag=3),
            wait(2), do("tokens", session="s"), do("tokens", session="f")]),
        ("rewind", "A rewound session gives the same answer again; further than it holds it cannot go", host() + [
            text(), generate(KEEP_ON, tokens=8), wait(), do("rewind", session="s", count=10),
            generate(KEEP_ON, tokens=8, tag=2), wait(), do("rewind", session="s", count=100),
            do("rewind", session="s", count=0), generate(tag=3), text(), generate(KEEP_ON, tokens=8, tag=4), wait(),
            do("park", session="s"), text("!"), generate(KEEP_ON, tokens=4, tag=5), wait()]),
        ("save_and_restore", "A state saved here equals the one that the C API saved, and goes on as its origin", host() + [
            text(), generate(KEEP_ON, tokens=8), wait(), named("save", "x", session="s"),
            named("read_state", "y", file="saved.state"), do("same_state", one="x", two="y"), do("probe", state="y"),
            named("restore", "t", engine="e", state="y"), do("tokens", session="t"),
            generate(KEEP_ON, session="t", tokens=8, tag=2), wait(), generate(KEEP_ON, tokens=8, tag=3), wait(),
            named("save", "z", session="s", options=[["bool", "state.cache", False]]), do("probe", state="z"),
            named("restore", "u", engine="e", state="z", options=[["bool", "state.cache", False]]),
            text("!", "u"), generate(KEEP_ON, session="u", tokens=4, tag=4), wait()]),
        ("refused_states", "A damaged state and one of another model are refused", host(model="other.gguf") + [
            named("read_state", "y", file="saved.state"), named("restore", "t", engine="e", state="y"),
            named("damage_state", "z", state="y", at=400), named("restore", "u", engine="e", state="z"),
            do("probe", state="z")]),
        ("chat", "A conversation is rendered by the model's template; what users write stays text", host() + [
            do("chat_template", model="m", messages=MESSAGES),
            do("chat_template", model="m", messages=MESSAGES, options=[["bool", "chat.add_generation_prompt", False]]),
            do("chat_template", model="m", messages=MESSAGES, options=[["string", "chat.template", "{{ messages|length }}"]]),
            do("chat_template", model="m", messages=MESSAGES, options=[["string", "chat.template", "{{ broken"]]),
            do("append_chat", session="s", messages=MESSAGES), do("tokens", session="s"), generate(KEEP_ON, tokens=8), wait()]),
        ("two_engines", "Two engines with two models post to one queue", host() + [
            load("o", file="other.gguf", options=REFERENCE), named("engine", "g", model="o", options=ENGINE),
            named("session", "t", engine="g"), text(), text(session="t", flags=["ADD_SPECIAL"]),
            generate(KEEP_ON, tag=1), wait(), generate(KEEP_ON, session="t", tag=2), wait(engine="g")]),
        ("many_sessions", "Sessions that run together give what each gives alone", host() + [
            step for tag in range(1, 7) for step in (
                named("session", "s%d" % tag, engine="e"), text(PROMPT[:3 * tag], "s%d" % tag),
                generate(KEEP_ON, WARM, ("int", "sampling.seed", tag), ("int", "request.priority", tag % 2),
                         session="s%d" % tag, tag=tag, tokens=10))] + [wait(6)]),
        ("backpressure", "A request whose events are not polled pauses, and goes on when they are", host(STEPPED) + [
            text(), generate(KEEP_ON, ("int", "request.top_logprobs", 20), tokens=200), do("step_until_idle", engine="e"),
            do("token_count", session="s"), wait(without=["text", "logprobs", "top"]), do("token_count", session="s")]),
        ("limits", "More sessions or requests than the engine takes are refused",
         host(STEPPED + [["int", "engine.max_sessions", 2], ["int", "engine.max_requests", 1]]) + [
             named("session", "t", engine="e"), named("session", "u", engine="e"), text(), text(session="t"),
             generate(tokens=2), generate(session="t", tag=2, tokens=2), wait(), generate(session="t", tag=3, tokens=2), wait()]),
        ("misuse", "A session in use is busy, a second poller too; wrong arguments are refused", host(STEPPED) + [
            generate(), text(), generate(tokens=4), text(), do("rewind", session="s", count=0), generate(tag=2),
            named("save", "x", session="s"), wait(), do("poll_together", queue="q"),
            do("append_tokens", session="s", tokens=[300]), do("append_tokens", session="s", tokens=[-1]),
            do("append_text", session="s", bytes="6162ff"), do("append_tokens", session="s", tokens=[5, 6]),
            do("token_count", session="s"),
            named("runtime", "r2"), named("queue", "q2", runtime="r2"), generate(queue="q2", tag=3)]),
        ("close", "Closing ends what runs, twice is once, and later calls answer so", host(STEPPED) + [
            text(), generate(), do("close", name="e"), do("close", name="e"), do("poll", queue="q"), text(),
            named("session", "t", engine="e"), do("token_count", session="s"), do("step", engine="e"),
            do("close", name="r"), do("close", name="r"), do("poll", queue="q"),
            named("engine", "g", model="m", options=ENGINE), do("model_info", model="m")]),
        ("release_in_any_order", "Handles are released parents first, and children still work", host() + [
            text(), generate(KEEP_ON, tokens=6), do("release", name="r"), do("release", name="m"), wait(),
            do("release", name="e"), text(" the"), do("token_count", session="s"), do("release", name="q"),
            do("release", name="s")]),
    ]

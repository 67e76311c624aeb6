#!/usr/bin/env python3
"""Logits of random models of every supported form: libtessera on a GPU against transformers on the same GPU.

    compare.py --library build/cuda/capi/libtessera.so [--types bf16,f16] [--forms llama,qwen2,...] [--device cuda]

The reference computes at float32 (no TF32) with the very weights of the file. README.md says what is compared, and
where the bounds come from. Needs torch, transformers and numpy. Exit status 0: everything is within the bounds."""
import argparse
import sys
import time

import numpy as np
import torch

import forms
import tessera_api

LENGTHS = (1, 2, 15, 16, 17, 63, 100, 257)  # of prompts, and the form's longest
FORCED = 5       # tokens appended one by one, all sequences together
FREE = 16        # greedy tokens, all sequences together
CROWD = 70       # short sequences at once: more than any captured graph has rows for
OUTLIER = 6      # a logit's error over the root mean square of its position's

# README.md, "Bounds". Of a position's logits, relative L2 errors at the worst; by weights and cache.
WORST = {("bf16", "weights'"): 1.2e-2, ("f16", "weights'"): 1.6e-3, ("bf16", "int8"): 2e-2, ("f16", "int8"): 2e-2,
         ("bf16", "f32"): 1e-5, ("f16", "f32"): 1e-5}
SHARE_OF_PEER = 0.75  # of the mean error that transformers itself has in the weights' type


class Reference:
    def __init__(self, model):
        self.model, self.device = model, next(model.parameters()).device

    def rows(self, tokens, first):
        """Logits [len(tokens) - first, vocabulary] of the positions from `first` on."""
        ids = torch.tensor([tokens], device=self.device)
        return self.model(ids, use_cache=False).logits[0, first:].float()

    def last_rows(self, sequences):
        """Logits of each sequence's last position. Padding behind it is never attended to."""
        ids = torch.zeros((len(sequences), max(map(len, sequences))), dtype=torch.int64, device=self.device)
        for row, tokens in zip(ids, sequences):
            row[:len(tokens)] = torch.tensor(tokens, device=self.device)
        logits = self.model(ids, use_cache=False).logits
        return torch.stack([logits[i, len(tokens) - 1].float() for i, tokens in enumerate(sequences)])


class Tally:
    """What became of one kind of comparison."""

    def __init__(self, name):
        self.name, self.errors, self.peer_errors, self.same, self.near, self.wrong = name, [], [], 0, 0, []

    def position(self, what, ours, reference, peer):
        ours = torch.from_numpy(ours).to(reference.device).double()
        exact = reference.double()
        error = float((ours - exact).norm() / exact.norm())
        if not np.isfinite(error):
            self.wrong.append(f"{what}: logits that are no numbers")
            error = float("inf")
        self.errors.append(error)
        self.peer_errors.append(float((peer.double() - exact).norm() / exact.norm()))
        tolerance = OUTLIER * error * float(exact.square().mean().sqrt())
        self.choice(what, int(ours.argmax()), exact, tolerance)

    def choice(self, what, token, exact, tolerance):
        margin = float(exact.max() - exact[token])
        if margin == 0:
            self.same += 1
        elif margin < 2 * tolerance:
            self.near += 1
        else:
            self.wrong.append(f"{what}: token {token} instead of {int(exact.argmax())}, {margin:.3g} below it, "
                              f"tolerance {2 * tolerance:.3g}")

    def figures(self):
        return [(max(errors), np.mean(errors)) for errors in (self.errors, self.peer_errors) if errors]

    def too_near_peer(self):
        return bool(self.errors) and np.mean(self.errors) > SHARE_OF_PEER * np.mean(self.peer_errors)

    def worst(self):
        return max(self.errors, default=0.0)


def compare(form, type_name, reference, peer, model, settings, random):
    """All kinds of comparison with one engine's settings."""
    lengths = [n for n in LENGTHS if n < form.longest] + [form.longest]
    full = [random.integers(0, form.vocabulary, n + FORCED).tolist() for n in lengths]
    prompts = [tokens[:n] for tokens, n in zip(full, lengths)]
    exact = [reference.rows(tokens, n - 1) for tokens, n in zip(full, lengths)]
    same_type = [peer.rows(tokens, n - 1) for tokens, n in zip(full, lengths)]
    shape = {"engine.context_tokens": form.longest + 64, "engine.cache_tokens": 16384, "engine.batch_sequences": 96,
             **settings}

    alone, chunks = Tally("prompt alone"), Tally("prompts in chunks")
    forced, free, crowd = Tally("decode, 9 rows"), Tally("greedy text"), Tally(f"crowd of {CROWD}")
    engine = tessera_api.Engine(model, {**shape, "engine.batch_tokens": 2048})
    for i, prompt in enumerate(prompts):
        session = engine.open()
        engine.append(session, prompt)
        engine.generate([session], 0)
        alone.position(f"prompt of {len(prompt)}", engine.logits(session), exact[i][0], same_type[i][0])
    short = [random.integers(0, form.vocabulary, 1 + i % 40).tolist() for i in range(CROWD)]
    sessions = [engine.open() for _ in short]
    for step in range(2):
        for i, session in enumerate(sessions):
            more = short[i] if step == 0 else [int(random.integers(0, form.vocabulary))]
            engine.append(session, more)
            short[i] = short[i] + more if step else short[i]
        engine.generate(sessions, 0)
        for i, (row, near) in enumerate(zip(reference.last_rows(short), peer.last_rows(short))):
            crowd.position(f"sequence {i} of {len(short[i])}", engine.logits(sessions[i]), row, near)
    engine.close()

    engine = tessera_api.Engine(model, {**shape, "engine.batch_tokens": 48, "engine.batch_sequences": 48})
    sessions = [engine.open() for _ in prompts]
    for step in range(FORCED + 1):
        for session, tokens, length in zip(sessions, full, lengths):
            engine.append(session, tokens[:length] if step == 0 else tokens[length + step - 1:length + step])
        engine.generate(sessions, 0)
        for i, session in enumerate(sessions):
            (forced if step else chunks).position(f"prompt of {lengths[i]}, step {step}", engine.logits(session),
                                                  exact[i][step], same_type[i][step])
    engine.close()

    engine = tessera_api.Engine(model, {**shape, "engine.batch_tokens": 256})
    sessions = [engine.open(logits=False) for _ in prompts]
    for session, prompt in zip(sessions, prompts):
        engine.append(session, prompt)
    measured = max(tally.worst() for tally in (alone, chunks, forced))
    for prompt, (tokens, logprobs) in zip(prompts, engine.generate(sessions, FREE)):
        assert len(tokens) == len(logprobs) == FREE, (tokens, logprobs)
        rows = reference.rows(prompt + tokens[:-1], len(prompt) - 1).double()
        for step, (row, token, logprob) in enumerate(zip(rows, tokens, logprobs)):
            what = f"prompt of {len(prompt)}, token {step}"
            tolerance = OUTLIER * measured * float(row.square().mean().sqrt())
            free.choice(what, token, row, tolerance)
            off = abs(logprob - float(row.log_softmax(-1)[token]))
            if not off <= 2 * tolerance:
                free.wrong.append(f"{what}: log-probability off by {off:.3g}, tolerance {2 * tolerance:.3g}")
    engine.close()
    return [alone, chunks, forced, crowd, free]


def run(form, type_name, library, device, seed):
    kind, _ = forms.TYPES[type_name]
    torch_device = "cpu" if device == "cpu" else "cuda"
    begin = time.monotonic()
    network = forms.transformers_model(form, kind, torch_device, seed)
    data = forms.gguf_bytes(form, network, type_name)
    model = tessera_api.Model(library, data, device)
    del data
    if device == "cpu":
        variants = [("f32", {"engine.cache_type": "f32", "engine.activations": "f32"})]
    else:
        variants = [("weights'", {})]
        if form.name in ("llama", "qwen2", "mistral-window", "llama-head-80"):
            variants += [("weights'", {"engine.batch_invariant": True}), ("int8", {"engine.cache_type": "int8"})]
    failures = []
    with torch.no_grad():
        reference = Reference(network)
        peer = Reference(forms.rounding_model(network, kind))
        for cache, settings in variants:
            bound = WORST[type_name, cache]
            tallies = compare(form, type_name, reference, peer, model, settings, np.random.default_rng(seed))
            for tally in tallies:
                bad = tally.worst() > bound or tally.wrong or (cache != "int8" and tally.too_near_peer())
                label = "invariant" if "engine.batch_invariant" in settings else f"{cache} cache"
                errors = " ".join(f"{worst:9.2e} {mean:9.2e}" for worst, mean in tally.figures()) or f"{'':39}"
                print(f"{form.name:20} {type_name:4} {label:14} {tally.name:18} {errors} {bound:7.0e} "
                      f"{tally.same:5} {tally.near:4} {len(tally.wrong):5}  {'FAILED' if bad else 'ok'}", flush=True)
                for line in tally.wrong[:5]:
                    print("    " + line)
                if bad:
                    failures.append(f"{form.name} {type_name} {label} {tally.name}")
    model.close()
    print(f"{form.name:20} {type_name:4} {time.monotonic() - begin:.1f} s", flush=True)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", required=True)
    parser.add_argument("--device", default="cuda", help="model.device; cpu: the CPU backend at single precision")
    parser.add_argument("--types", default="bf16,f16")
    parser.add_argument("--forms", default=",".join(form.name for form in forms.FORMS))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    library = tessera_api.Library(arguments.library)
    print(f"{'':59}{'ours':^19} {'transformers':^19}")
    print(f"{'form':20} {'type':4} {'variant':14} {'kind':18} {'worst':>9} {'mean':>9} {'worst':>9} {'mean':>9} "
          f"{'bound':>7} {'same':>5} {'near':>4} {'wrong':>5}")
    chosen = arguments.forms.split(",")
    unknown = set(chosen) - {form.name for form in forms.FORMS}
    assert not unknown, f"no such form: {unknown}"
    failures = []
    for form in forms.FORMS:
        for type_name in arguments.types.split(","):
            if form.name in chosen:
                failures += run(form, type_name, library, arguments.device, arguments.seed)
    print("\n".join(["FAILED:", *failures]) if failures else "everything is within the bounds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes the tokenizer's goldens with Hugging Face's tokenizers from the vocabulary of a GGUF file.

pip: tokenizers, gguf. Usage: make.py MODEL.gguf. Writes hashes.json (the tokens of tens of thousands of generated
texts, hashed by groups) and cases.json (a few hundred texts with their tokens, to read). The texts themselves are
not stored: tests/core/text/golden_texts.cc generates the same ones.
"""
import json
import pathlib
import sys

import tokenizers
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).parent
FRAGMENTS = json.loads((HERE / "fragments.json").read_text())
RANDOM_TEXTS = 20000
SWEEP_TEXTS = 0x110000 // 64
GROUP = 50
MASK = (1 << 64) - 1
CONTROL, USER_DEFINED = 3, 4


class Random:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % limit


def scalar(index):
    """The index-th code point that is no surrogate."""
    return chr(index if index < 0xD800 else index + 0x800)


def random_text(index):
    random = Random(index)
    text = []
    for _ in range(1 + random.below(16)):
        kind = random.below(8)
        if kind < 4:
            text.append(FRAGMENTS[random.below(len(FRAGMENTS))])
        elif kind == 4:
            times = 1 + random.below(5)
            text.append(FRAGMENTS[random.below(len(FRAGMENTS))] * times)
        elif kind == 5:
            for _ in range(1 + random.below(4)):
                text.append(scalar(random.below(0x110000 - 0x800)))
        elif kind == 6:
            for _ in range(1 + random.below(6)):
                text.append(scalar(random.below(0x3000)))
        else:
            for _ in range(1 + random.below(12)):
                ascii_index = random.below(97)
                text.append("\n" if ascii_index == 95 else "\t" if ascii_index == 96 else chr(32 + ascii_index))
    return "".join(text) * (40 if index % 500 == 0 else 1)


def sweep_text(index):
    """64 neighbouring code points, with something after each that may join it."""
    points = [c for c in range(64 * index, 64 * index + 64) if not 0xD800 <= c < 0xE000]
    return "".join(chr(c) + ("", " ", "a", "1")[c % 4] for c in points)


LETTERS_LIKE_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def pre_tokenizer(name):
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        return pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
    pattern = LETTERS_LIKE_LLAMA3 % {"llama-bpe": "{1,3}", "qwen2": ""}[name]
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


class Vocabulary:
    def __init__(self, path):
        fields = GGUFReader(path).fields
        self.tokens = fields["tokenizer.ggml.tokens"].contents()
        self.kinds = fields["tokenizer.ggml.token_type"].contents()
        self.merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]

    def tokenizer(self, name, parse_special, user_defined):
        bpe = models.BPE({t: i for i, t in enumerate(self.tokens)}, self.merges, ignore_merges=name == "llama-bpe")
        tokenizer = Tokenizer(bpe)
        tokenizer.pre_tokenizer = pre_tokenizer(name)
        tokenizer.decoder = decoders.ByteLevel()
        added = [AddedToken(self.tokens[i], special=False, normalized=False) for i in user_defined]
        if parse_special:
            added += [
                AddedToken(t, special=True, normalized=False)
                for t, kind in zip(self.tokens, self.kinds)
                if kind == CONTROL
            ]
        tokenizer.add_tokens(added)
        return tokenizer

    def hash(self):
        value = FNV_OFFSET
        for token in self.tokens:
            for byte in token.encode():
                value = fnv(value, byte)
            value = fnv(value, 0xFF)
        return value


FNV_OFFSET = 0xCBF29CE484222325


def fnv(value, item):
    return ((value ^ item) * 0x100000001B3) & MASK


def hash_group(encodings):
    value, count = FNV_OFFSET, 0
    for encoding in encodings:
        for token in encoding.ids:
            value = fnv(value, token)
        value = fnv(value, 0xFFFFFFFF)
        count += len(encoding.ids)
    return f"{count}:{value:016x}"


def user_defined_tokens(vocabulary):
    """Plain tokens that the test declares user-defined: some are the beginning of others."""
    return [vocabulary.tokens.index(t) for t in ("in", "int", "inter", "ing", "return", "==", "://", "a", "1", "x")]


def golden_sets(vocabulary):
    yield "smollm", False, []
    yield "smollm", True, []
    yield "smollm", True, user_defined_tokens(vocabulary)
    yield "gpt-2", True, []
    yield "llama-bpe", True, []
    yield "qwen2", True, []


def write_hashes(vocabulary):
    texts = [random_text(i) for i in range(RANDOM_TEXTS)] + [sweep_text(i) for i in range(SWEEP_TEXTS)]
    sets = []
    for name, parse_special, user_defined in golden_sets(vocabulary):
        tokenizer = vocabulary.tokenizer(name, parse_special, user_defined)
        groups = []
        for i in range(0, len(texts), GROUP):
            encodings = tokenizer.encode_batch(texts[i : i + GROUP], add_special_tokens=False)
            groups.append(hash_group(encodings))
        sets.append({
            "pre": name, "parse_special": parse_special, "user_defined": user_defined, "groups": groups,
        })
    golden = {
        "made_with": f"tokenizers {tokenizers.__version__}",
        "vocabulary": f"{vocabulary.hash():016x}",
        "random_texts": RANDOM_TEXTS, "sweep_texts": SWEEP_TEXTS, "group": GROUP,
        "sets": sets,
    }
    (HERE / "hashes.json").write_text(json.dumps(golden, indent=0) + "\n")


def write_cases(vocabulary):
    texts = list(FRAGMENTS)
    texts += [random_text(i) for i in range(1, 40)]
    lines = []
    for i, text in enumerate(texts):
        name = ("smollm", "smollm", "gpt-2", "llama-bpe", "qwen2")[i % 5]
        parse_special = i % 2 == 0
        tokenizer = vocabulary.tokenizer(name, parse_special, [])
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        lines.append(json.dumps({"pre": name, "parse_special": parse_special, "text": text, "tokens": ids}))
    (HERE / "cases.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def main():
    vocabulary = Vocabulary(sys.argv[1])
    write_cases(vocabulary)
    write_hashes(vocabulary)


if __name__ == "__main__":
    main()

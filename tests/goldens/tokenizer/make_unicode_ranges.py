#!/usr/bin/env python3
"""Writes core/text/unicode_ranges.inc: the character classes as the reference tokenizers see them.

Asks the library itself (pip: tokenizers) about every code point, so that its Unicode version is ours.
Usage: make_unicode_ranges.py > core/text/unicode_ranges.inc
"""
import tokenizers
from tokenizers import Regex, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
BLOCK = 4096


def blocks():
    for i in range(0, len(CODE_POINTS), BLOCK):
        yield [chr(c) for c in CODE_POINTS[i : i + BLOCK]]


def matching(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    found = set()
    for block in blocks():
        kept = "".join(piece for piece, _ in split.pre_tokenize_str("".join(block)))
        found |= set(block) - set(kept)
    return found


def standing_alone():
    """What the splitter of single digits takes for a digit."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    found = set()
    for block in blocks():
        pieces = digits.pre_tokenize_str(" ".join(f"x{c}x" for c in block))
        found |= {piece for piece, _ in pieces if len(piece) == 1 and piece != "x"}
    return found


def main():
    letters, numbers, spaces = matching(r"\p{L}"), matching(r"\p{N}"), matching(r"\s")
    digits = standing_alone()
    assert numbers <= digits and not digits & letters
    rows, before = [], None
    for c in range(0x110000):
        char = chr(c)
        kind = "O"
        if char in letters:
            kind = "L"
        elif char in numbers:
            kind = "N"
        elif char in spaces:
            kind = "S"
        elif char in digits:
            kind = "D"
        if kind != before:
            rows.append(f"{{0x{c:X}, {kind}}},")
            before = kind
    print(f"// Made by tests/goldens/tokenizer/make_unicode_ranges.py from tokenizers {tokenizers.__version__}.")
    print("// clang-format off")
    line = ""
    for row in rows:
        if len(line) + len(row) + 1 > 110:
            print(line)
            line = ""
        line += (" " if line else "") + row
    print(line)
    print("// clang-format on")


main()

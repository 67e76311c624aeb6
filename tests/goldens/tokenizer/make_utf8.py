#!/usr/bin/env python3
"""Writes utf8.json: byte strings, mostly broken, and what Python's decoder makes of them with errors="replace".

Each row is [bytes, bytes after replacement, offset of the first invalid byte], bytes in hexadecimal.
"""
import json
import pathlib
import random

# Lead and continuation bytes at the edges of their ranges come up often, so that all bad forms do.
EDGES = bytes.fromhex("00 41 7F 80 8F 90 9F A0 BF C0 C1 C2 DF E0 E1 EC ED EE EF F0 F1 F3 F4 F5 FF")


def row(data):
    try:
        data.decode()
        invalid = len(data)
    except UnicodeDecodeError as error:
        invalid = error.start
    return [data.hex(), data.decode(errors="replace").encode().hex(), invalid]


def main():
    generator = random.Random(20)
    rows = [row(bytes([a])) for a in EDGES] + [row(bytes([a, b])) for a in EDGES for b in EDGES]
    for _ in range(700):
        rows.append(row(bytes(generator.choice(EDGES) for _ in range(generator.randint(3, 12)))))
    for _ in range(200):
        text = "".join(chr(generator.choice([0x41, 0xE9, 0x20AC, 0x1F600])) for _ in range(4)).encode()
        cut = bytearray(text)
        cut[generator.randrange(len(cut))] = generator.choice(EDGES)
        rows.append(row(bytes(cut)))
    lines = ",\n".join(json.dumps(r) for r in rows)
    (pathlib.Path(__file__).parent / "utf8.json").write_text(f"[\n{lines}\n]\n")


main()

#!/usr/bin/env python3
"""Writes dequantised_blocks.txt: random blocks of every tensor type, and what the gguf package reads from them.

Needs: pip install gguf numpy. A line is: type number, block bytes in hex, float32 values in hex (little-endian).
"""
import pathlib

import gguf
import numpy as np
from gguf import quants

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"]
SCALES_AT = {"Q4_0": [0], "Q4_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}


def main():
    random = np.random.default_rng(20240607)
    lines = []
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        block_elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = max(1, 512 // block_elements)
        if block_elements == 1:  # any finite number
            values = random.normal(size=blocks).astype(np.float32) * 10.0 ** random.integers(-6, 4, blocks)
            values = values.astype(np.float32)
            data = quants.quantize(values, kind).view(np.uint8).reshape(-1)
        else:
            data = random.integers(0, 256, (blocks, block_bytes)).astype(np.uint8)
            for at in SCALES_AT[name]:
                scales = random.normal(size=blocks).astype(np.float16)
                data[:, at : at + 2] = scales.view(np.uint8).reshape(blocks, 2)
            data = data.reshape(-1)
        typed = data.view(np.float32) if name == "F32" else data.view(np.float16) if name == "F16" else data
        values = quants.dequantize(typed, kind).astype(np.float32).reshape(-1)
        assert values.size == blocks * block_elements
        lines.append(f"{int(kind)} {data.tobytes().hex()} {values.tobytes().hex()}\n")
    pathlib.Path(__file__).with_name("dequantised_blocks.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()

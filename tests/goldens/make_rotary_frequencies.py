#!/usr/bin/env python3
"""Writes rotary_frequencies.txt: inverse frequencies and magnitudes as the transformers package computes them.

Needs: pip install transformers torch. A line is: scaling, dimensions, base, factor, original context, magnitude,
then dimensions / 2 frequencies; numbers are float32 in hexadecimal form.
"""
import pathlib

import torch
from transformers import Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = [  # scaling, dimensions, base, factor, original context
    ("default", 64, 10000.0, 1.0, 2048),
    ("default", 128, 1000000.0, 1.0, 32768),
    ("linear", 64, 10000.0, 4.0, 2048),
    ("yarn", 128, 1000000.0, 4.0, 32768),
    ("yarn", 64, 10000.0, 16.0, 4096),
]


def frequencies(scaling, dimensions, base, factor, context):
    if scaling == "default":
        return 1.0 / base ** (torch.arange(0, dimensions, 2, dtype=torch.float32) / dimensions), 1.0
    parameters = {"rope_type": scaling, "rope_theta": base, "factor": factor}
    if scaling == "yarn":
        parameters["original_max_position_embeddings"] = context
    config = Qwen2Config(
        hidden_size=dimensions * 2,
        num_attention_heads=2,
        max_position_embeddings=int(context * factor),
        rope_parameters=parameters,
    )
    return ROPE_INIT_FUNCTIONS[scaling](config, "cpu")


def main():
    lines = []
    for case in CASES:
        values, magnitude = frequencies(*case)
        numbers = " ".join(float(value).hex() for value in values)
        lines.append(" ".join(str(part) for part in case) + f" {float(magnitude).hex()} {numbers}\n")
    pathlib.Path(__file__).with_name("rotary_frequencies.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()

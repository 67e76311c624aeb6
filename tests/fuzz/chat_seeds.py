#!/usr/bin/env python3
"""Writes the seeds of chat_fuzz from the goldens' own templates. Usage: chat_seeds.py FOLDER"""
import json
import pathlib
import sys

golden = pathlib.Path(__file__).parent.parent / "goldens" / "chat" / "snippets.json"
document = json.loads(golden.read_text())
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
messages = json.dumps(document["context"]["messages"], ensure_ascii=False)
variables = json.dumps(document["context"], ensure_ascii=False)
templates = [entry["template"] for entry in document["snippets"]]
for i in range(0, len(templates), 6):
    text = "\n".join(templates[i : i + 6]) if i < 130 else templates[i]
    (folder / f"{i:03}").write_bytes("\0".join([text, messages, variables]).encode())

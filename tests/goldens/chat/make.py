#!/usr/bin/env python3
"""Makes the goldens of chat templates with transformers' own environment.

pip: transformers, jinja2, gguf. Usage: make.py TEMPLATES_FOLDER MODEL.gguf, with the folder that scripts/fetch-templates
prints and the model of scripts/fetch-model. Writes snippets.json (small templates with what they give) and
families.json (lengths and SHA-256 of what published templates give; the templates themselves are not kept here).
"""
import datetime
import hashlib
import json
import pathlib
import sys

import conversations
import jinja2
import snippets
import transformers
from gguf import GGUFReader
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 7, 5, 13, 4, 9)


class FrozenTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def lines_of(text):
    return [line for line in text.strip("\n").split("\n") if line]


def templates_of(text):
    """One template a line; a line that opens a tag which it does not close goes on in the next."""
    whole = []
    for line in lines_of(text):
        if whole and whole[-1].count("{{") > whole[-1].count("}}"):
            whole[-1] += "\n" + line
        else:
            whole.append(line)
    return whole


def snippet(template, must_fail):
    entry = {"template": template}
    try:
        entry["text"] = chat_template_utils._compile_jinja_template(template).render(**snippets.CONTEXT)
    except Exception as error:  # whatever Python or Jinja raise is a refusal
        entry["error"] = type(error).__name__
    if must_fail != ("error" in entry):
        print(f"expected {'an error' if must_fail else 'a text'}: {entry}", file=sys.stderr)
    return entry


def family(template, conversation):
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=__import__("tokenizers").Tokenizer(__import__("tokenizers").models.BPE()),
        bos_token="<|bos|>", eos_token="<|eos|>")
    arguments = {key: conversation[key] for key in ("tools", "add_generation_prompt") if key in conversation}
    arguments.setdefault("add_generation_prompt", True)
    arguments.update(conversation.get("variables", {}))
    try:
        if not conversation["messages"]:
            arguments.update(tokenizer.special_tokens_map)
            text = chat_template_utils.render_jinja_template([[]], chat_template=template, **arguments)[0][0]
        else:
            text = tokenizer.apply_chat_template(
                conversation["messages"], chat_template=template, tokenize=False, **arguments)
    except Exception as error:
        return {"error": type(error).__name__}
    data = text.encode()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def main():
    folder, model = pathlib.Path(sys.argv[1]), sys.argv[2]
    chat_template_utils.datetime = FrozenTime
    seconds = int((NOW - datetime.datetime(1970, 1, 1)).total_seconds())
    made_by = f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}"

    entries = [snippet(template, False) for template in templates_of(snippets.PLAIN) + snippets.SPACES]
    entries += [snippet(template, True) for template in lines_of(snippets.ERRORS)]
    document = {"made_by": made_by, "local_time_s": seconds, "context": snippets.CONTEXT, "snippets": entries}
    (HERE / "snippets.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")

    templates = {path.name: path.read_bytes().decode() for path in sorted(folder.glob("*.jinja"))}
    field = GGUFReader(model).fields["tokenizer.chat_template"]
    templates["SmolLM2"] = bytes(field.parts[field.data[0]]).decode()
    results = {
        name: {title: family(template, conversation) for title, conversation in conversations.ALL.items()}
        for name, template in templates.items()
    }
    document = {"made_by": made_by, "local_time_s": seconds, "conversations": conversations.ALL, "families": results}
    (HERE / "families.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


main()

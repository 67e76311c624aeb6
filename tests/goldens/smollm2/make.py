#!/usr/bin/env python3
"""Makes the goldens of SmolLM2-135M-Instruct: what an independent implementation says on the same weights.

Dequantises a GGUF file, runs it in Hugging Face's LlamaForCausalLM at float32, and writes beside this script
goldens.json, sampled_logits.f32 and log_probs.u16 (README.md tells the format). It knows nothing of Tessera:
that is what makes it a reference. Needs PyPI numpy, gguf, torch, transformers, tokenizers, jinja2.

    python3 make.py SmolLM2-135M-Instruct.Q4_1.gguf
"""
import hashlib
import json
import pathlib
import platform
import sys

import gguf
import numpy as np
import tokenizers
import torch
import transformers

STEPS = 128          # greedy tokens of each prompt
TOP = 16             # ids and logits kept of every step
SAMPLED_STEPS = 12   # steps of each prompt with logits of the sampled vocabulary
SAMPLED_IDS = 512    # ids in the sampled vocabulary, the same for all prompts
FULL_STEPS = 4       # steps of each prompt with log-probabilities of the whole vocabulary
SEED = 20261122

LONG_TEXT = """The harbour master kept two books. In the first he wrote what the law asked of him: the name of every \
ship, the hour at which it crossed the bar, the depth of its keel and the weight of its cargo. In the second, which \
nobody had asked for, he wrote what he saw. On the ninth of March a schooner came in with a mast of green wood, and \
he noted that the carpenter who had chosen it would not choose another. On the tenth it rained, and a boy of about \
six sold umbrellas on the quay that he had surely not bought. On the eleventh a letter arrived from the capital. It \
said that the harbour would be closed before winter, since the river now carried more sand than water, and that the \
harbour master would be given a post inland, where there were no ships at all. He copied the letter into the first \
book, word for word, as the law required. Then he opened the second book, thought for a long while, and wrote:"""

PROMPTS = [
    {"name": "chat_capital", "messages": [
        {"role": "user", "content": "What is the capital of France, and what is it known for?"}]},
    {"name": "chat_turns", "messages": [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "Air scatters blue light more than red light."},
        {"role": "user", "content": "And why is it red in the evening?"}]},
    {"name": "chat_code", "messages": [
        {"role": "user", "content": "Write a C function that returns the greatest common divisor of two "
                                    "unsigned integers.\nUse `uint64_t`, no recursion."}]},
    {"name": "raw_short", "text": "Once upon a time"},
    {"name": "raw_code", "text": "#include <vector>\n\n// Returns the sum of the squares.\n"
                                 "int SumOfSquares(const std::vector<int>& values) {\n"},
    {"name": "raw_languages", "text": "Bonjour, comment ça va ? Die Straße ist naß. Привет, мир! 你好，世界。"
                                      "おはよう ☕️ \U0001f9e9 — e\u0301tude:"},
    {"name": "raw_numbers", "text": "  2024-11-05\t1,000,000.50\n\n| n | n^2 |\n|---|-----|\n| 1 | 1 |\n| 2 | 4 |\n"},
    {"name": "raw_long", "text": LONG_TEXT},
]


def field(reader, key):
    return reader.get_field(key).contents()


def load_tokenizer(reader):
    """Byte-level BPE with single digits, as SmolLM's own tokenizer is set up; control tokens match first."""
    tokens = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    kinds = field(reader, "tokenizer.ggml.token_type")
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, kinds) if kind == 3])
    return tokenizer


def interleaved_to_halves(weight, heads):
    """GGUF stores the rows of Q and K so that (2i, 2i+1) rotate together; Hugging Face rotates (i, i + n/2)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def load_model(reader):
    heads = field(reader, "llama.attention.head_count")
    kv_heads = field(reader, "llama.attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=len(field(reader, "tokenizer.ggml.tokens")),
        hidden_size=field(reader, "llama.embedding_length"),
        intermediate_size=field(reader, "llama.feed_forward_length"),
        num_hidden_layers=field(reader, "llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=field(reader, "llama.context_length"),
        rms_norm_eps=field(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field(reader, "llama.rope.freq_base")},
        tie_word_embeddings=True,
        attn_implementation="eager")
    places = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    state = {}
    for tensor in reader.tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weight = weight.reshape([int(n) for n in reversed(tensor.shape)])
        parts = tensor.name.split(".")
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            assert parts[0] == "blk" and parts[3] == "weight", tensor.name
            name = f"model.layers.{parts[1]}.{places[parts[2]]}.weight"
            if parts[2] in ("attn_q", "attn_k"):
                weight = interleaved_to_halves(weight, heads if parts[2] == "attn_q" else kv_heads)
        state[name] = torch.from_numpy(np.ascontiguousarray(weight))
    model = transformers.LlamaForCausalLM(config).float().eval()
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and missing.missing_keys in ([], ["lm_head.weight"]), missing
    model.tie_weights()
    return model


def greedy(model, prompt):
    """End tokens do not end it, so that there are always STEPS tokens."""
    ids, cache, tokens = torch.tensor([prompt]), None, []
    for _ in range(STEPS):
        out = model(ids, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        tokens.append(int(out.logits[0, -1].argmax()))
        ids = torch.tensor([[tokens[-1]]])
    return tokens


def digits(values):
    return [float(f"{float(value):.6g}") for value in values]


def teacher_forced(model, prompt, tokens):
    """Row i holds the logits that chose tokens[i]: those after the prompt and tokens[:i]."""
    logits = model(torch.tensor([prompt + tokens[:-1]])).logits[0, len(prompt) - 1:]
    return logits.double()


def prompt_golden(model, tokenizer, template, prompt, index, double_model):
    text = prompt.get("text")
    if text is None:
        text = transformers.utils.chat_template_utils.render_jinja_template(
            [prompt["messages"]], chat_template=template, add_generation_prompt=True)[0][0]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    tokens = greedy(model, ids)
    logits = teacher_forced(model, ids, tokens)
    assert logits.argmax(-1).tolist() == tokens, f"{prompt['name']}: step by step and all at once part"
    double_logits = teacher_forced(double_model, ids, tokens)
    top = logits.topk(TOP)
    log_sum_exp = logits.logsumexp(-1)
    random = np.random.default_rng(SEED + 1 + index)
    sampled_steps = sorted(random.choice(STEPS, SAMPLED_STEPS, replace=False).tolist())
    full_steps = sampled_steps[::SAMPLED_STEPS // FULL_STEPS]
    golden = {
        "name": prompt["name"],
        **({"messages": prompt["messages"]} if "messages" in prompt else {}),
        "text": text,
        "ids": ids,
        "greedy_ids": tokens,
        "greedy_text": tokenizer.decode(tokens, skip_special_tokens=False),
        "margin": digits(top.values[:, 0] - top.values[:, 1]),
        "log_sum_exp": digits(log_sum_exp),
        "top_ids": top.indices.tolist(),
        "top_logits": [digits(row) for row in top.values],
        "sampled_steps": sampled_steps,
        "full_steps": full_steps,
        "reference_error_max": digits([(logits - double_logits).abs().max()])[0],
    }
    return golden, logits[sampled_steps], (logits - log_sum_exp[:, None])[full_steps]


def main():
    path = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(__file__).parent
    torch.set_grad_enabled(False)
    reader = gguf.GGUFReader(path)
    tokenizer, model = load_tokenizer(reader), load_model(reader)
    double_model = load_model(reader).double()
    template = field(reader, "tokenizer.chat_template")
    vocabulary = model.config.vocab_size
    sampled_ids = np.sort(np.random.default_rng(SEED).choice(vocabulary, SAMPLED_IDS, replace=False))

    goldens, sampled, codes = [], [], []
    for index, prompt in enumerate(PROMPTS):
        golden, sampled_rows, full_rows = prompt_golden(model, tokenizer, template, prompt, index, double_model)
        sampled.append(sampled_rows[:, sampled_ids].float().numpy())
        low, high = full_rows.min(-1).values, full_rows.max(-1).values
        golden["full_low"], golden["full_high"] = digits(low), digits(high)
        low = torch.tensor(golden["full_low"], dtype=torch.float64)[:, None]
        high = torch.tensor(golden["full_high"], dtype=torch.float64)[:, None]
        codes.append(((full_rows - low) / (high - low) * 65535).round().clamp(0, 65535).numpy().astype("<u2"))
        goldens.append(golden)
        print(f"{golden['name']}: {len(golden['ids'])} prompt tokens, least margin {min(golden['margin'])}, "
              f"float32 to float64 {golden['reference_error_max']}: {golden['greedy_text'][:60]!r}")

    np.stack(sampled).astype("<f4").tofile(folder / "sampled_logits.f32")
    np.stack(codes).tofile(folder / "log_probs.u16")
    document = {
        "model": path.name,
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "made_with": {"python": platform.python_version(), "gguf": gguf_version(), "numpy": np.__version__,
                      "torch": torch.__version__, "transformers": transformers.__version__,
                      "tokenizers": tokenizers.__version__},
        "steps": STEPS, "vocabulary": vocabulary, "sampled_ids": sampled_ids.tolist(), "prompts": goldens,
    }
    lines = json.dumps({**document, "prompts": None}, ensure_ascii=False, separators=(",", ":"))
    bodies = ",\n".join(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) for golden in goldens)
    (folder / "goldens.json").write_text(lines.replace('"prompts":null', f'"prompts":[\n{bodies}\n]') + "\n",
                                         encoding="utf-8")


def gguf_version():
    import importlib.metadata
    return importlib.metadata.version("gguf")


if __name__ == "__main__":
    main()

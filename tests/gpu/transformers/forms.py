"""Random models of every form that the GGUF reader takes: as Hugging Face's own classes, and as GGUF files with the
same weights. Names, keys and the order of rows are those of the converters that write such files."""
import copy
import dataclasses
import math

import torch
import transformers

import gguf_file

TYPES = {"bf16": (torch.bfloat16, gguf_file.TYPE_BF16), "f16": (torch.float16, gguf_file.TYPE_F16)}


@dataclasses.dataclass
class Form:
    name: str
    family: str = "llama"  # or "qwen2", "mistral"
    layers: int = 3
    hidden: int = 256
    ffn: int = 640
    heads: int = 8
    kv_heads: int = 2
    head_size: int = 64
    vocabulary: int = 2003
    tied: bool = False
    biases: bool = False   # Llama's own: on all four projections of attention
    window: int = 0
    context: int = 1024
    theta: float = 10000.0
    rope: dict = dataclasses.field(default_factory=lambda: {"rope_type": "default"})
    epsilon: float = 1e-5
    longest: int = 430     # prompt


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 128}
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 128}

FORMS = [
    Form("llama"),
    Form("llama-tied", tied=True, vocabulary=32003),
    Form("llama-multi-head", heads=5, kv_heads=5, hidden=320, vocabulary=999),
    Form("llama-one-kv-head", heads=8, kv_heads=1, head_size=32),
    Form("llama-head-80", head_size=80, heads=4, kv_heads=2, ffn=704),
    Form("llama-head-96", head_size=96, heads=6, kv_heads=2, hidden=384),
    Form("llama-head-128", head_size=128, heads=16, kv_heads=2, hidden=512, ffn=1408, vocabulary=151_937),
    Form("llama-head-256", head_size=256, heads=4, kv_heads=2),
    Form("llama-biases", biases=True, tied=True),
    Form("llama-llama3-rope", rope=LLAMA3, theta=500000.0),
    Form("llama-linear-rope", rope={"rope_type": "linear", "factor": 4.0}),
    Form("llama-yarn-rope", rope=YARN),
    Form("llama-odd-widths", hidden=328, ffn=568, heads=4, kv_heads=4, head_size=72, vocabulary=131),
    Form("mistral-window", family="mistral", window=100, head_size=128, heads=4, kv_heads=2),
    Form("mistral-short-window", family="mistral", window=16, tied=True),
    Form("qwen2", family="qwen2", theta=1000000.0, epsilon=1e-6),
    Form("qwen2-tied-yarn", family="qwen2", tied=True, rope=YARN, head_size=128, heads=14, kv_heads=2, hidden=896,
         ffn=1216),
    Form("1b", layers=16, hidden=2048, ffn=8192, heads=32, kv_heads=8, vocabulary=128_256, tied=True, theta=500000.0,
         rope={**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 8192}, context=131_072, longest=1200),
]


def transformers_model(form, kind, device, seed):
    """At float32, every weight a value of the type. With gain 1, inputs of spread 1 give outputs of spread 1; branches
    add less to the hidden state than what is there, as in trained models: where they add more, each layer multiplies
    rounding errors, and logits say nothing of where an error came from."""
    classes = {"llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
               "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
               "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM)}
    config_class, model_class = classes[form.family]
    special = {"llama": {"attention_bias": form.biases}, "mistral": {"sliding_window": form.window or None},
               "qwen2": {"use_sliding_window": False}}[form.family]
    config = config_class(
        vocab_size=form.vocabulary, hidden_size=form.hidden, intermediate_size=form.ffn,
        num_hidden_layers=form.layers, num_attention_heads=form.heads, num_key_value_heads=form.kv_heads,
        head_dim=form.head_size, max_position_embeddings=form.context, rms_norm_eps=form.epsilon,
        rope_parameters={**form.rope, "rope_theta": form.theta}, tie_word_embeddings=form.tied,
        pad_token_id=None, bos_token_id=None, eos_token_id=None, attn_implementation="eager", **special)
    torch.manual_seed(seed)
    with torch.device(device), transformers.initialization.no_init_weights():
        model = model_class(config).float().eval()
    spread = 3 / math.sqrt(form.hidden)  # of the embedding, so that logits are of a few units where it is the head
    gains = {"embed_tokens": 3, "lm_head": 3, "q_proj": 1.2, "k_proj": 1.2, "o_proj": spread, "down_proj": 0.7 * spread}
    for name, weight in model.named_parameters():
        part = name.split(".")[-2]
        if name.endswith("bias"):
            weight.data.normal_(0, 0.3 * (spread if part == "o_proj" else 1))
        elif weight.dim() == 1:
            weight.data.normal_(1, 0.1)
            if part == "norm":  # or a tied head would answer every token with itself
                weight.data *= torch.randint_like(weight.data, 2) * 2 - 1
        else:
            weight.data.normal_(0, gains.get(part, 1) / math.sqrt(weight.shape[1]))
        weight.data = weight.data.to(kind).float()
    model.tie_weights()
    return model


def rounding_model(model, kind):
    """The same network computing in the type throughout, as transformers does; its angles stay at float32 there too."""
    rounding = copy.deepcopy(model).to(kind)
    for module, exact in zip(rounding.modules(), model.modules()):
        for name, buffer in exact.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())
    return rounding


def interleaved(weight, heads):
    """Hugging Face rotates (i, i + n/2); files of the Llama family have these rows side by side."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, -1).transpose(1, 2).reshape(weight.shape)


def llama3_divisors(form):
    """What converters write as rope_freqs.weight (the formula of Llama 3.1's own code)."""
    rope, divisors = form.rope, []
    for i in range(form.head_size // 2):
        turns = rope["original_max_position_embeddings"] * form.theta ** (-2 * i / form.head_size) / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = min(max((turns - low) / (high - low), 0), 1)
        divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return divisors


def write_metadata(form, writer):
    prefix = "qwen2." if form.family == "qwen2" else "llama."
    writer.string("general.architecture", prefix[:-1])
    for key, value in {"block_count": form.layers, "context_length": form.context, "embedding_length": form.hidden,
                       "feed_forward_length": form.ffn, "attention.head_count": form.heads,
                       "attention.head_count_kv": form.kv_heads, "attention.key_length": form.head_size,
                       "attention.value_length": form.head_size, "vocab_size": form.vocabulary,
                       "rope.dimension_count": form.head_size}.items():
        writer.uint32(prefix + key, value)
    writer.float32(prefix + "attention.layer_norm_rms_epsilon", form.epsilon)
    writer.float32(prefix + "rope.freq_base", form.theta)
    if form.window:
        writer.uint32(prefix + "attention.sliding_window", form.window)
    if form.rope["rope_type"] in ("linear", "yarn"):
        writer.string(prefix + "rope.scaling.type", form.rope["rope_type"])
        writer.float32(prefix + "rope.scaling.factor", form.rope["factor"])
    if form.rope["rope_type"] == "yarn":
        writer.uint32(prefix + "rope.scaling.original_context_length", form.rope["original_max_position_embeddings"])
    writer.string("tokenizer.ggml.model", "gpt2")
    writer.string("tokenizer.ggml.pre", "llama-bpe")
    writer.strings("tokenizer.ggml.tokens", [f"t{i}" for i in range(form.vocabulary)])
    writer.strings("tokenizer.ggml.merges", [])


PLACES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q",
          "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
          "up_proj": "ffn_up", "down_proj": "ffn_down"}


def gguf_bytes(form, model, type_name):
    kind, gguf_type = TYPES[type_name]
    writer = gguf_file.Writer()
    write_metadata(form, writer)

    def add(name, weight):
        if weight.dim() == 1:
            writer.tensor(name, [len(weight)], gguf_file.TYPE_F32, weight.float().cpu().numpy())
        else:
            rows, columns = weight.shape
            writer.tensor(name, [columns, rows], gguf_type,
                          weight.to(kind).contiguous().view(torch.int16).cpu().numpy())

    for name, weight in model.named_parameters():
        parts = name.split(".")
        if parts[0] == "lm_head":
            add("output.weight", weight.data)
        elif parts[1] == "embed_tokens":
            add("token_embd.weight", weight.data)
        elif parts[1] == "norm":
            add("output_norm.weight", weight.data)
        else:
            weight, place = weight.data, PLACES[parts[-2]]
            if form.family != "qwen2" and place in ("attn_q", "attn_k"):
                weight = interleaved(weight, form.heads if place == "attn_q" else form.kv_heads)
            add(f"blk.{parts[2]}.{place}.{parts[-1]}", weight)
    if form.rope["rope_type"] == "llama3":
        add("rope_freqs.weight", torch.tensor(llama3_divisors(form)))
    return writer.build()

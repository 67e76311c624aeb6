// Every rule that a model's metadata and tensors must keep, each broken once.
#include <limits>
#include <string>
#include <vector>

#include "core/model/model_spec.h"
#include "tests/core/model/broken_file.h"
#include "tests/doubles/fake_file.h"
#include "tests/doubles/quantise.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

TinyModelOptions Options() {
  TinyModelOptions options;
  options.qkv_bias = options.rope_factors_tensor = true;
  options.hidden = options.head_size = 32;
  options.tied_head = false;
  return options;
}

GgufWriter::TensorEntry& Entry(GgufWriter& writer, const std::string& name) {
  for (GgufWriter::TensorEntry& entry : writer.tensors) {
    if (entry.name == name) return entry;
  }
  ADD_FAILURE() << "no tensor " << name;
  return writer.tensors[0];
}

std::function<void(GgufWriter&)> Int(const std::string& key, uint32_t value) {
  return [key, value](GgufWriter& w) { w.Remove(key).Uint32(key, value); };
}
std::function<void(GgufWriter&)> Float(const std::string& key, float value) {
  return [key, value](GgufWriter& w) { w.Remove(key).Float32(key, value); };
}
std::function<void(GgufWriter&)> Text(const std::string& key, const std::string& value) {
  return [key, value](GgufWriter& w) { w.Remove(key).String(key, value); };
}
std::function<void(GgufWriter&)> NoKey(const std::string& key) {
  return [key](GgufWriter& w) { w.Remove(key); };
}
std::function<void(GgufWriter&)> NoTensor(const std::string& name) {
  return [name](GgufWriter& w) { w.RemoveTensor(name); };
}
std::function<void(GgufWriter&)> Extra(const std::string& name) {
  return [name](GgufWriter& w) { w.Tensor(name, TensorType::kF32, {1}, std::vector<uint8_t>(4)); };
}
std::function<void(GgufWriter&)> Shape(const std::string& name, const std::vector<uint64_t>& shape) {
  return [name, shape](GgufWriter& w) {
    uint64_t elements = 1;
    for (const uint64_t extent : shape) elements *= extent;
    Entry(w, name).shape = shape;
    Entry(w, name).bytes.resize(elements * sizeof(float));
  };
}
std::function<void(GgufWriter&)> AsHalf(const std::string& name) {
  return [name](GgufWriter& w) { Entry(w, name).type = static_cast<uint32_t>(TensorType::kF16); };
}

const std::vector<BrokenFile>& Rules() {
  constexpr ErrorCode kBroken = ErrorCode::kCorrupt, kNot = ErrorCode::kUnsupported;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  static const auto* rules = new std::vector<BrokenFile>{
      {"architecture, missing", kBroken, "'general.architecture'", "is missing",
       NoKey("general.architecture")},
      {"architecture, kind", kBroken, "'general.architecture'", "a string is needed",
       Int("general.architecture", 1)},
      {"architecture, unknown", kNot, "'general.architecture'", "is 'mamba'; this build knows: llama, qwen2",
       Text("general.architecture", "mamba")},
      {"file type", kNot, "'general.type'", "is 'adapter'", Text("general.type", "adapter")},
      {"file type, kind", kBroken, "'general.type'", "a string is needed", Int("general.type", 1)},
      {"split", kNot, "'split.count'", "one of 3 parts", Int("split.count", 3)},
      {"split, kind", kBroken, "'split.count'", "an integer is needed", Text("split.count", "3")},
      {"name, kind", kBroken, "'general.name'", "a string is needed", Int("general.name", 1)},
      {"key, unknown", kNot, "'llama.residual_scale'", "not known to this build",
       Float("llama.residual_scale", 2)},
      {"experts", kNot, "'llama.expert_count'", "only 0 is supported", Int("llama.expert_count", 8)},
      {"experts, kind", kNot, "'llama.expert_used_count'", "only 0 is supported",
       Text("llama.expert_used_count", "0")},
      {"softcap", kNot, "'llama.attn_logit_softcapping'", "only 0 is supported",
       Float("llama.attn_logit_softcapping", 50)},
      {"softcap, logits", kNot, "'llama.final_logit_softcapping'", "only 0 is supported",
       Float("llama.final_logit_softcapping", 30)},
      {"causal", kNot, "'llama.attention.causal'", "only 1 is supported",
       [](GgufWriter& w) { w.Bool("llama.attention.causal", false); }},
      {"layers, missing", kBroken, "'llama.block_count'", "is missing", NoKey("llama.block_count")},
      {"layers, none", kBroken, "'llama.block_count' is 0", "1 to 4096", Int("llama.block_count", 0)},
      {"layers, many", kBroken, "'llama.block_count' is 4097", "1 to 4096", Int("llama.block_count", 4097)},
      {"layers, kind", kBroken, "'llama.block_count' is of type float32", "an integer is needed",
       Float("llama.block_count", 2)},
      {"context, missing", kBroken, "'llama.context_length'", "is missing", NoKey("llama.context_length")},
      {"context, range", kBroken, "'llama.context_length' is 0", "is possible",
       Int("llama.context_length", 0)},
      {"hidden, missing", kBroken, "'llama.embedding_length'", "is missing", NoKey("llama.embedding_length")},
      {"hidden, range", kBroken, "'llama.embedding_length' is 1048577", "is possible",
       Int("llama.embedding_length", (1 << 20) + 1)},
      {"feed forward, missing", kBroken, "'llama.feed_forward_length'", "is missing",
       NoKey("llama.feed_forward_length")},
      {"feed forward, range", kBroken, "'llama.feed_forward_length' is 4294967295", "is possible",
       Int("llama.feed_forward_length", UINT32_MAX)},
      {"feed forward, per layer", kNot, "'llama.feed_forward_length'", "one number for all layers",
       [](GgufWriter& w) {
         w.Remove("llama.feed_forward_length");
         w.Array("llama.feed_forward_length", GgufType::kInt32, std::vector<int32_t>{128, 128});
       }},
      {"epsilon, missing", kBroken, "'llama.attention.layer_norm_rms_epsilon'", "is missing",
       NoKey("llama.attention.layer_norm_rms_epsilon")},
      {"epsilon, NaN", kBroken, "'llama.attention.layer_norm_rms_epsilon' is nan", "is possible",
       Float("llama.attention.layer_norm_rms_epsilon", nan)},
      {"epsilon, range", kBroken, "'llama.attention.layer_norm_rms_epsilon' is 0", "is possible",
       Float("llama.attention.layer_norm_rms_epsilon", 0)},
      {"epsilon, kind", kBroken, "'llama.attention.layer_norm_rms_epsilon'", "a number is needed",
       Text("llama.attention.layer_norm_rms_epsilon", "1")},
      {"heads, missing", kBroken, "'llama.attention.head_count'", "is missing",
       NoKey("llama.attention.head_count")},
      {"heads, range", kBroken, "'llama.attention.head_count' is 0", "is possible",
       Int("llama.attention.head_count", 0)},
      {"kv heads, range", kBroken, "'llama.attention.head_count_kv' is 3", "1 to 2 is possible",
       Int("llama.attention.head_count_kv", 3)},
      {"kv heads, division", kBroken, "'llama.attention.head_count_kv' is 2",
       "does not divide the 3 query heads",
       [](GgufWriter& w) {
         Int("llama.attention.head_count", 3)(w);
         Int("llama.attention.head_count_kv", 2)(w);
       }},
      {"heads, division", kBroken, "'llama.attention.head_count' is 3", "does not divide the hidden size 32",
       [](GgufWriter& w) {
         Int("llama.attention.head_count", 3)(w);
         w.Remove("llama.attention.key_length");
       }},
      {"head size, range", kBroken, "'llama.attention.key_length' is 2048", "is possible",
       Int("llama.attention.key_length", 2048)},
      {"value size", kNot, "'llama.attention.value_length' is 64", "values as long as keys",
       Int("llama.attention.value_length", 64)},
      {"window", kBroken, "'llama.attention.sliding_window' is 4294967295", "is possible",
       Int("llama.attention.sliding_window", UINT32_MAX)},
      {"rotary, range", kBroken, "'llama.rope.dimension_count' is 34", "2 to 32 is possible",
       Int("llama.rope.dimension_count", 34)},
      {"rotary, odd", kBroken, "'llama.rope.dimension_count' is 7", "an even number",
       Int("llama.rope.dimension_count", 7)},
      {"rotary base", kBroken, "'llama.rope.freq_base' is 1;", "is possible",
       Float("llama.rope.freq_base", 1)},
      {"rotary scaling", kNot, "'llama.rope.scaling.type'", "is 'longrope'",
       Text("llama.rope.scaling.type", "longrope")},
      {"rotary scaling, kind", kBroken, "'llama.rope.scaling.type'", "a string is needed",
       Int("llama.rope.scaling.type", 1)},
      {"rotary factor", kBroken, "'llama.rope.scaling.factor' is -1", "is possible",
       Float("llama.rope.scaling.factor", -1)},
      {"rotary factor, old", kBroken, "'llama.rope.scale_linear' is -2", "is possible",
       Float("llama.rope.scale_linear", -2)},
      {"rotary magnitude", kBroken, "'llama.rope.scaling.attn_factor' is 0", "is possible",
       Float("llama.rope.scaling.attn_factor", 0)},
      {"rotary context", kBroken, "'llama.rope.scaling.original_context_length' is 0", "is possible",
       Int("llama.rope.scaling.original_context_length", 0)},
      {"rotary fast", kBroken, "'llama.rope.scaling.yarn_beta_fast' is inf", "is possible",
       Float("llama.rope.scaling.yarn_beta_fast", std::numeric_limits<float>::infinity())},
      {"rotary slow", kBroken, "'llama.rope.scaling.yarn_beta_slow' is 0", "is possible",
       Float("llama.rope.scaling.yarn_beta_slow", 0)},
      {"rotary tensor, type", kNot, "tensor 'rope_freqs.weight'", "it is of type F16",
       AsHalf("rope_freqs.weight")},
      {"rotary tensor, shape", kBroken, "tensor 'rope_freqs.weight'", "half the rotary dimensions, 16,",
       Shape("rope_freqs.weight", {15})},
      {"rotary tensor, value", kBroken, "tensor 'rope_freqs.weight'", "element 3 is nan",
       [nan](GgufWriter& w) { memcpy(&Entry(w, "rope_freqs.weight").bytes[12], &nan, sizeof(nan)); }},
      {"embedding, missing", kBroken, "tensor 'token_embd.weight'", "is missing",
       NoTensor("token_embd.weight")},
      {"embedding, rows", kBroken, "tensor 'token_embd.weight'", "has 1 rows, one for each token",
       Shape("token_embd.weight", {32, 1})},
      {"embedding, shape", kBroken, "tensor 'token_embd.weight'", "has the shape [31, 300, 1, 1]",
       Shape("token_embd.weight", {31, 300})},
      {"vocabulary, range", kBroken, "'llama.vocab_size' is 0", "is possible", Int("llama.vocab_size", 0)},
      {"vocabulary", kBroken, "'llama.vocab_size' is 301", "has 300 rows", Int("llama.vocab_size", 301)},
      {"output norm, missing", kBroken, "tensor 'output_norm.weight'", "is missing",
       NoTensor("output_norm.weight")},
      {"output norm, type", kNot, "tensor 'output_norm.weight'", "a vector of type F16",
       AsHalf("output_norm.weight")},
      {"head, shape", kBroken, "tensor 'output.weight'", "has the shape", Shape("output.weight", {32, 299})},
      {"query, missing", kBroken, "tensor 'blk.1.attn_q.weight'", "is missing",
       NoTensor("blk.1.attn_q.weight")},
      {"query, shape", kBroken, "tensor 'blk.1.attn_q.weight'", "the metadata says [32, 64, 1, 1]",
       Shape("blk.1.attn_q.weight", {64, 32})},
      {"query bias, shape", kBroken, "tensor 'blk.0.attn_q.bias'", "the metadata says [64, 1, 1, 1]",
       Shape("blk.0.attn_q.bias", {32})},
      {"key bias, type", kNot, "tensor 'blk.0.attn_k.bias'", "a vector of type F16",
       AsHalf("blk.0.attn_k.bias")},
      {"three dimensions", kBroken, "tensor 'blk.0.ffn_down.weight'", "has the shape [128, 16, 2, 1]",
       Shape("blk.0.ffn_down.weight", {128, 16, 2})},
      {"tensor, unknown", kNot, "tensor 'blk.0.ffn_gate_inp.weight'", "not known to this build",
       Extra("blk.0.ffn_gate_inp.weight")},
      {"layer, not counted", kNot, "tensor 'blk.2.attn_norm.weight'", "not known to this build",
       Extra("blk.2.attn_norm.weight")},
  };
  return *rules;
}

absl::Status Parse(std::vector<uint8_t> bytes) {
  auto file = GgufFile::Read(FileOf(std::move(bytes)));
  EXPECT_TRUE(file.ok()) << "the container itself was refused: " << file.status();
  if (!file.ok()) return file.status();
  return ReadModelSpec(**file).status();
}

TEST(ModelSpecRules, UnbrokenModelIsRead) {
  const absl::Status status = Parse(MakeTinyModel(Options()));
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ModelSpecRules, EachBrokenRuleHasItsOwnMessageWithThePlace) {
  const GgufWriter valid = BuildTinyModel(Options()).writer;
  for (const BrokenFile& broken : Rules()) {
    GgufWriter writer = valid;
    broken.breaks(writer);
    ExpectRefusal(Parse(writer.Build()), broken, Rules());
  }
}

TEST(ModelSpecRules, EachMissingTensorIsNamed) {
  const GgufWriter valid = BuildTinyModel(Options()).writer;
  int missed = 0;
  for (const GgufWriter::TensorEntry& entry : valid.tensors) {
    const bool optional = entry.name.find("bias") != std::string::npos || entry.name == "output.weight" ||
                          entry.name == "rope_freqs.weight";
    GgufWriter writer = valid;
    writer.RemoveTensor(entry.name);
    const absl::Status status = Parse(writer.Build());
    if (optional) {
      EXPECT_TRUE(status.ok()) << status;
      continue;
    }
    ++missed;
    EXPECT_EQ(CodeOf(status), ErrorCode::kCorrupt);
    EXPECT_THAT(std::string(status.message()),
                ::testing::HasSubstr(absl::StrCat("'", entry.name, "' is missing")));
  }
  EXPECT_EQ(missed, 2 + 2 * 9);
}

TEST(ModelSpecRules, FailedReadOfTheRotaryFactorsIsPassedOn) {
  auto file = std::make_shared<FakeFile>(MakeTinyModel(Options()));
  auto gguf = GgufFile::Read(file);
  ASSERT_TRUE(gguf.ok());
  file->FailRead(file->reads());
  EXPECT_EQ(CodeOf(ReadModelSpec(**gguf).status()), ErrorCode::kIoError);
}

}  // namespace
}  // namespace tessera

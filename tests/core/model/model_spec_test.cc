// What ReadModelSpec makes of valid files.
#include "core/model/model_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tests/doubles/quantise.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;

ModelSpec SpecOf(const std::vector<uint8_t>& bytes) {
  auto file = GgufFile::Read(FileOf(bytes));
  EXPECT_TRUE(file.ok()) << file.status();
  auto spec = ReadModelSpec(**file);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *std::move(spec) : ModelSpec();
}

TEST(ModelSpec, SizesComeFromTheMetadata) {
  TinyModelOptions options;
  options.heads = 4;
  options.kv_heads = 2;
  options.head_size = 24;
  const ModelSpec spec = SpecOf(MakeTinyModel(options));
  EXPECT_EQ(spec.architecture, "llama");
  EXPECT_EQ(spec.name, "Tiny");
  EXPECT_EQ(spec.hidden_size, 64);
  EXPECT_EQ(spec.feed_forward_size, 128);
  EXPECT_EQ(spec.vocabulary_size, kTinyVocabulary);
  EXPECT_EQ(spec.context_tokens, 256);
  EXPECT_FLOAT_EQ(spec.norm_epsilon, 1e-5f);
  ASSERT_EQ(spec.layers.size(), 2u);
  const AttentionSpec& attention = spec.layers[1].attention;
  EXPECT_EQ(attention.heads, 4);
  EXPECT_EQ(attention.kv_heads, 2);
  EXPECT_EQ(attention.head_size, 24);
  EXPECT_EQ(attention.window_tokens, 0);
  EXPECT_FLOAT_EQ(attention.scale, 1 / std::sqrt(24.0f));
}

TEST(ModelSpec, EveryTensorOfTheFileIsBoundWithItsShapePlaceAndBytes) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ8_0,
                                TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K, TensorType::kQ6_K}) {
    SCOPED_TRACE(InfoOf(type).name);
    TinyModelOptions options = TinyOptionsOfType(type);
    options.tied_head = false;
    options.qkv_bias = options.output_bias = true;
    const TinyModel model = BuildTinyModel(options);
    const ModelSpec spec = SpecOf(model.bytes);
    ASSERT_EQ(spec.tensors.size(), model.tensors.size());
    for (const TensorSpec& tensor : spec.tensors) {
      SCOPED_TRACE(tensor.name);
      const TinyTensor& expected = model.tensors.at(tensor.name);
      ASSERT_EQ(tensor.type, expected.type);
      ASSERT_EQ(tensor.rows, expected.rows);
      ASSERT_EQ(tensor.columns, expected.columns);
      ASSERT_EQ(tensor.size_bytes, RowBytes(tensor.type, expected.values.size()));
      std::vector<float> values(expected.values.size(), NAN);
      Dequantize(tensor.type, model.bytes.data() + tensor.file_offset, tensor.rows * tensor.columns,
                 values.data());
      EXPECT_EQ(values, expected.values);
    }
  }
}

TEST(ModelSpec, RolesNameTheRightTensors) {
  TinyModelOptions options;
  options.qkv_bias = options.output_bias = true;
  options.tied_head = false;
  const ModelSpec spec = SpecOf(MakeTinyModel(options));
  const auto name = [&](TensorId id) { return spec.tensors[static_cast<size_t>(id)].name; };
  EXPECT_EQ(name(spec.embedding), "token_embd.weight");
  EXPECT_EQ(name(spec.output_norm), "output_norm.weight");
  EXPECT_EQ(name(spec.head), "output.weight");
  const LayerSpec& layer = spec.layers[1];
  EXPECT_EQ(name(layer.attention_norm), "blk.1.attn_norm.weight");
  EXPECT_EQ(name(layer.query), "blk.1.attn_q.weight");
  EXPECT_EQ(name(layer.query_bias), "blk.1.attn_q.bias");
  EXPECT_EQ(name(layer.key), "blk.1.attn_k.weight");
  EXPECT_EQ(name(layer.key_bias), "blk.1.attn_k.bias");
  EXPECT_EQ(name(layer.value), "blk.1.attn_v.weight");
  EXPECT_EQ(name(layer.value_bias), "blk.1.attn_v.bias");
  EXPECT_EQ(name(layer.output), "blk.1.attn_output.weight");
  EXPECT_EQ(name(layer.output_bias), "blk.1.attn_output.bias");
  EXPECT_EQ(name(layer.feed_forward_norm), "blk.1.ffn_norm.weight");
  EXPECT_EQ(name(layer.gate), "blk.1.ffn_gate.weight");
  EXPECT_EQ(name(layer.up), "blk.1.ffn_up.weight");
  EXPECT_EQ(name(layer.down), "blk.1.ffn_down.weight");
}

TEST(ModelSpec, AbsentBiasesHaveNoTensor) {
  const LayerSpec layer = SpecOf(MakeTinyModel()).layers[0];
  EXPECT_THAT((std::vector<TensorId>{layer.query_bias, layer.key_bias, layer.value_bias, layer.output_bias}),
              ElementsAre(kNoTensor, kNoTensor, kNoTensor, kNoTensor));
}

TEST(ModelSpec, TiedHeadIsTheEmbeddingAndCountsOncePerToken) {
  const TinyModel model = BuildTinyModel({});
  const ModelSpec spec = SpecOf(model.bytes);
  EXPECT_EQ(spec.head, spec.embedding);
  int64_t elements = 0;
  for (const auto& [name, tensor] : model.tensors) elements += tensor.rows * tensor.columns;
  EXPECT_EQ(spec.parameters(), elements);
  EXPECT_EQ(spec.bytes_per_token(), static_cast<uint64_t>(elements) * sizeof(float));
}

TEST(ModelSpec, OwnHeadLeavesOneRowOfTheEmbeddingPerToken) {
  TinyModelOptions options;
  options.tied_head = false;
  options.embedding_type = TensorType::kQ8_0;
  const ModelSpec tied = SpecOf(MakeTinyModel());
  const ModelSpec own = SpecOf(MakeTinyModel(options));
  EXPECT_NE(own.head, own.embedding);
  EXPECT_EQ(own.bytes_per_token(), tied.bytes_per_token() + 64 / 32 * 34);
}

TEST(ModelSpec, LayersOfOneLayoutShareACacheGroup) {
  TinyModelOptions options;
  options.layers = 3;
  options.window_tokens = 16;
  const ModelSpec spec = SpecOf(MakeTinyModel(options));
  ASSERT_EQ(spec.cache_groups.size(), 1u);
  EXPECT_EQ(spec.cache_groups[0].kv_heads, 1);
  EXPECT_EQ(spec.cache_groups[0].head_size, 32);
  EXPECT_EQ(spec.cache_groups[0].window_tokens, 16);
  EXPECT_THAT(spec.cache_groups[0].layers, ElementsAre(0, 1, 2));
  for (const LayerSpec& layer : spec.layers) {
    EXPECT_EQ(layer.cache_group, 0);
    EXPECT_EQ(layer.attention.window_tokens, 16);
  }
}

TEST(ModelSpec, KeysThatMayBeLeftOutHaveTheirDefaults) {
  GgufWriter writer = BuildTinyModel(TinyModelOptions{.kv_heads = 2}).writer;
  writer.Remove("llama.attention.head_count_kv").Remove("llama.vocab_size").Remove("general.name");
  writer.Remove("llama.rope.dimension_count").Remove("llama.rope.freq_base").Remove("general.type");
  const ModelSpec spec = SpecOf(writer.Build());
  EXPECT_EQ(spec.layers[0].attention.kv_heads, 2);
  EXPECT_EQ(spec.vocabulary_size, kTinyVocabulary);
  EXPECT_EQ(spec.name, "");
  EXPECT_EQ(spec.rotary.dimensions, 32);
  EXPECT_FLOAT_EQ(spec.rotary.inverse_frequencies[8], 1e-2f);  // 10000^(-16/32)
}

TEST(ModelSpec, KeysThatAskForNothingAreTaken) {
  GgufWriter writer = BuildTinyModel({}).writer;
  writer.Uint32("llama.expert_count", 0).Float32("llama.attn_logit_softcapping", 0);
  writer.Bool("llama.attention.causal", true).Bool("llama.use_parallel_residual", false);
  writer.String("llama.tensor_data_layout", "Meta AI original pth").Uint32("split.count", 1);
  writer.Bool("llama.rope.scaling.finetuned", true).Uint32("qwen2.expert_count", 60);
  EXPECT_EQ(SpecOf(writer.Build()).layers.size(), 2u);
}

TEST(ModelSpec, FileOfVersion2IsReadAlike) {
  GgufWriter writer = BuildTinyModel({}).writer;
  writer.version = 2;
  EXPECT_EQ(SpecOf(writer.Build()).tensors.size(), SpecOf(MakeTinyModel()).tensors.size());
}

TEST(TinyModel, SameSeedGivesTheSameBytesAndAnotherSeedOthers) {
  EXPECT_EQ(MakeTinyModel(), MakeTinyModel());
  EXPECT_NE(MakeTinyModel(), MakeTinyModel(TinyModelOptions{.seed = 2}));
}

TEST(TinyModel, TokensAreDistinct) {
  const std::vector<std::string> tokens = TinyTokens();
  EXPECT_EQ(tokens.size(), static_cast<size_t>(kTinyVocabulary));
  EXPECT_EQ(std::set<std::string>(tokens.begin(), tokens.end()).size(), tokens.size());
}

}  // namespace
}  // namespace tessera

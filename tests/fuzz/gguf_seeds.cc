// Writes the seeds of gguf_fuzz into a folder: small valid files that between them use every part of the
// format.
//   gguf_seeds tests/fuzz/seeds/gguf
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

// The vocabulary makes most of a tiny model's bytes: the fuzzer does without.
GgufWriter Small(const TinyModelOptions& options) {
  constexpr uint64_t kTokens = 4;
  GgufWriter writer = BuildTinyModel(options).writer;
  writer.Remove("tokenizer.ggml.tokens").Remove("tokenizer.ggml.merges").Remove("tokenizer.ggml.token_type");
  writer.Remove("tokenizer.chat_template").Remove(options.architecture + ".vocab_size");
  for (GgufWriter::TensorEntry& tensor : writer.tensors) {
    if (tensor.name != "token_embd.weight" && tensor.name != "output.weight") continue;
    tensor.bytes.resize(tensor.bytes.size() / tensor.shape[1] * kTokens);
    tensor.shape[1] = kTokens;
  }
  return writer;
}

TinyModelOptions Options(int32_t width) {
  TinyModelOptions options;
  options.layers = 1;
  options.hidden = options.feed_forward = width;
  options.head_size = width / 2;
  return options;
}

GgufWriter EveryValueType() {
  GgufWriter writer;
  writer.version = 2;
  writer.Scalar("u8", GgufType::kUint8, uint8_t{200}).Scalar("i8", GgufType::kInt8, int8_t{-1});
  writer.Scalar("u16", GgufType::kUint16, uint16_t{60000}).Scalar("i16", GgufType::kInt16, int16_t{-1});
  writer.Uint32("u32", 1).Int32("i32", -1).Uint64("u64", 1).Scalar("i64", GgufType::kInt64, int64_t{-1});
  writer.Float32("f32", 1).Scalar("f64", GgufType::kFloat64, 1.0).Bool("bool", true).String("text", "t");
  writer.Array("floats", GgufType::kFloat32, std::vector<float>{1, 2});
  writer.Array("integers", GgufType::kInt16, std::vector<int16_t>{1, 2, 3});
  writer.Strings("strings", {"", "one", "two"});
  return writer;
}

bool Write(const std::string& path, const GgufWriter& writer) {
  const std::vector<uint8_t> bytes = writer.Build();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return out.good();
}

bool WriteAll(const std::string& folder) {
  TinyModelOptions qwen2 = Options(4);
  qwen2.architecture = "qwen2";
  qwen2.qkv_bias = qwen2.output_bias = true;
  qwen2.tied_head = false;
  TinyModelOptions yarn = Options(4);
  yarn.layers = 2;
  yarn.rope_scaling = "yarn";
  yarn.rope_factor = 4;
  yarn.rope_original_context = 64;
  yarn.window_tokens = 16;
  TinyModelOptions factors = Options(8);
  factors.rope_factors_tensor = true;
  factors.head_size = 8;
  TinyModelOptions blocks = Options(32);
  blocks.embedding_type = TensorType::kQ8_0;
  blocks.attention_type = TensorType::kQ4_0;
  blocks.feed_forward_type = TensorType::kQ4_1;
  GgufWriter aligned = Small(Options(4));
  aligned.Alignment(8);
  return Write(folder + "/llama.gguf", Small(Options(4))) && Write(folder + "/qwen2.gguf", Small(qwen2)) &&
         Write(folder + "/yarn.gguf", Small(yarn)) && Write(folder + "/factors.gguf", Small(factors)) &&
         Write(folder + "/blocks.gguf", Small(blocks)) && Write(folder + "/aligned.gguf", aligned) &&
         Write(folder + "/values.gguf", EveryValueType());
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: gguf_seeds FOLDER\n");
    return 2;
  }
  if (tessera::WriteAll(argv[1])) return 0;
  fprintf(stderr, "gguf_seeds: could not write into %s\n", argv[1]);
  return 1;
}

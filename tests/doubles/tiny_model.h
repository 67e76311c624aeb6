// A Llama- or Qwen2-like model of a few hundred kilobytes, made from a seed: the same bytes on every machine.
// Its logits have a spread of a few units, so that greedy choices and samples are neither flat nor constant.
#ifndef TESSERA_TESTS_DOUBLES_TINY_MODEL_H_
#define TESSERA_TESTS_DOUBLES_TINY_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/model/gguf.h"
#include "core/model/tensor_type.h"
#include "tests/doubles/gguf_writer.h"

namespace tessera {

// hidden, feed_forward and heads * head_size are multiples of the block_elements of the types that use them.
struct TinyModelOptions {
  std::string architecture = "llama";  // or "qwen2"
  int32_t layers = 2;
  int32_t hidden = 64;
  int32_t heads = 2;
  int32_t kv_heads = 1;
  int32_t head_size = 32;
  int32_t feed_forward = 128;
  int32_t context_tokens = 256;
  int32_t window_tokens = 0;      // 0: no sliding window
  int32_t rotary_dimensions = 0;  // 0: head_size
  float frequency_base = 10000.0f;
  std::string rope_scaling{};         // "": no key; "none", "linear", "yarn"
  float rope_factor = 0;              // 0: no key
  int32_t rope_original_context = 0;  // 0: no key
  bool rope_factors_tensor = false;   // rope_freqs.weight, as Llama 3 has it
  bool tied_head = true;
  bool qkv_bias = false;  // Qwen2 has them
  bool output_bias = false;
  TensorType embedding_type = TensorType::kF32;
  TensorType head_type = TensorType::kF32;  // where the head is not tied
  TensorType attention_type = TensorType::kF32;
  TensorType feed_forward_type = TensorType::kF32;
  uint64_t seed = 1;
  bool marks_beginning = false;  // token 0 begins a text, and the tokenizer adds it
  // "": no key.
  std::string chat_template =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
      "'<|im_end|>' + '\n'}}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
};

// One type for every matrix, with widths that all block types divide (256).
TinyModelOptions TinyOptionsOfType(TensorType type);
// Architecture "qwen2" with biases and its own head.
TinyModelOptions TinyQwen2Options();

// The weights that a correct engine computes with: dequantised, [rows, columns], columns contiguous.
struct TinyTensor {
  TensorType type = TensorType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;
};

struct TinyModel {
  TinyModelOptions options;
  GgufWriter writer;                          // what `bytes` was built from, for tests that change it
  std::vector<uint8_t> bytes;                 // the GGUF file
  std::map<std::string, TinyTensor> tensors;  // by GGUF name, "blk.0.attn_q.weight"
};

TinyModel BuildTinyModel(const TinyModelOptions& options);
std::vector<uint8_t> MakeTinyModel(const TinyModelOptions& options = {});

// Vocabulary of every tiny model: 0 "<|endoftext|>", 1 "<|im_start|>", 2 "<|im_end|>" (control tokens), 3 to
// 258 the single bytes (token 3 + b is byte b), then merges up to 300 tokens in all. Byte-level BPE in
// GPT-2's alphabet, pre-tokenizer "smollm", a ChatML template.
inline constexpr int32_t kTinyVocabulary = 300;
std::vector<std::string> TinyTokens();  // as GGUF writes them, in GPT-2's byte alphabet
std::vector<std::string> TinyMerges();  // "left right"

// Opens bytes in memory; the file keeps its own copy.
std::shared_ptr<const RandomAccessFile> FileOf(std::vector<uint8_t> bytes);

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_TINY_MODEL_H_

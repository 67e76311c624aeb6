// Draws the weights, quantises them, writes the file, and keeps what the file's bytes stand for.
#include "tests/doubles/tiny_model.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/doubles/quantise.h"

namespace tessera {
namespace {

// SplitMix64; a sum of four uniforms is near enough to a normal distribution, and exact on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u) {}
  float Normal() {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(Next() >> 11) * 0x1p-53 - 0.5;
    return static_cast<float>(sum * 1.7320508075688772);  // four uniforms have the variance 1/3
  }

 private:
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

class Builder {
 public:
  explicit Builder(const TinyModelOptions& options) : random_(options.seed) { model_.options = options; }

  TinyModel Build() {
    WriteMetadata();
    WriteTensors();
    model_.bytes = model_.writer.Build();
    return std::move(model_);
  }

 private:
  const TinyModelOptions& options() const { return model_.options; }
  std::string Key(const std::string& suffix) const { return options().architecture + "." + suffix; }

  void WriteMetadata() {
    const TinyModelOptions& o = options();
    GgufWriter& w = model_.writer;
    w.String("general.architecture", o.architecture).String("general.type", "model");
    w.String("general.name", "Tiny");
    w.Uint32(Key("block_count"), static_cast<uint32_t>(o.layers));
    w.Uint32(Key("context_length"), static_cast<uint32_t>(o.context_tokens));
    w.Uint32(Key("embedding_length"), static_cast<uint32_t>(o.hidden));
    w.Uint32(Key("feed_forward_length"), static_cast<uint32_t>(o.feed_forward));
    w.Uint32(Key("attention.head_count"), static_cast<uint32_t>(o.heads));
    w.Uint32(Key("attention.head_count_kv"), static_cast<uint32_t>(o.kv_heads));
    w.Float32(Key("attention.layer_norm_rms_epsilon"), 1e-5f);
    w.Uint32(Key("vocab_size"), kTinyVocabulary);
    if (o.head_size * o.heads != o.hidden) {
      w.Uint32(Key("attention.key_length"), static_cast<uint32_t>(o.head_size));
      w.Uint32(Key("attention.value_length"), static_cast<uint32_t>(o.head_size));
    }
    if (o.window_tokens != 0)
      w.Uint32(Key("attention.sliding_window"), static_cast<uint32_t>(o.window_tokens));
    w.Float32(Key("rope.freq_base"), o.frequency_base);
    w.Uint32(Key("rope.dimension_count"), static_cast<uint32_t>(RotaryDimensions()));
    if (!o.rope_scaling.empty()) w.String(Key("rope.scaling.type"), o.rope_scaling);
    if (o.rope_factor != 0) w.Float32(Key("rope.scaling.factor"), o.rope_factor);
    if (o.rope_original_context != 0) {
      w.Uint32(Key("rope.scaling.original_context_length"), static_cast<uint32_t>(o.rope_original_context));
    }
    WriteTokenizer();
  }

  void WriteTokenizer() {
    GgufWriter& w = model_.writer;
    std::vector<int32_t> token_types(kTinyVocabulary, 1);  // normal
    for (int i = 0; i < 3; ++i) token_types[i] = 3;        // control
    w.String("tokenizer.ggml.model", "gpt2").String("tokenizer.ggml.pre", "smollm");
    w.Strings("tokenizer.ggml.tokens", TinyTokens()).Strings("tokenizer.ggml.merges", TinyMerges());
    w.Array("tokenizer.ggml.token_type", GgufType::kInt32, token_types);
    w.Uint32("tokenizer.ggml.bos_token_id", options().marks_beginning ? 0 : 1);
    w.Uint32("tokenizer.ggml.eos_token_id", 2);
    w.Uint32("tokenizer.ggml.unknown_token_id", 0).Uint32("tokenizer.ggml.padding_token_id", 2);
    w.Bool("tokenizer.ggml.add_bos_token", options().marks_beginning);
    w.Bool("tokenizer.ggml.add_space_prefix", false);
    if (!options().chat_template.empty()) w.String("tokenizer.chat_template", options().chat_template);
  }

  // Values are mean + deviation * normal. A vector is one row.
  void Add(const std::string& name, TensorType type, int64_t rows, int64_t columns, float deviation,
           float mean = 0) {
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (float& value : values) value = mean + deviation * random_.Normal();
    std::vector<uint8_t> bytes = Quantize(type, values.data(), rows * columns);
    Dequantize(type, bytes.data(), rows * columns, values.data());
    std::vector<uint64_t> shape = {static_cast<uint64_t>(columns)};
    if (rows > 1) shape.push_back(static_cast<uint64_t>(rows));
    model_.writer.Tensor(name, type, shape, std::move(bytes));
    model_.tensors[name] = {type, rows, columns, std::move(values)};
  }
  // With `gain` 1, inputs of spread 1 give outputs of spread 1.
  void Matrix(const std::string& name, TensorType type, int64_t rows, int64_t columns, float gain) {
    Add(name, type, rows, columns, gain / std::sqrt(static_cast<float>(columns)));
  }
  void Norm(const std::string& name) { Add(name, TensorType::kF32, 1, options().hidden, 0.1f, 1.0f); }
  void Bias(const std::string& name, int64_t columns) { Add(name, TensorType::kF32, 1, columns, 0.3f); }

  int32_t RotaryDimensions() const {
    return options().rotary_dimensions != 0 ? options().rotary_dimensions : options().head_size;
  }

  void WriteTensors() {
    const TinyModelOptions& o = options();
    Matrix("token_embd.weight", o.embedding_type, kTinyVocabulary, o.hidden, 3);
    if (o.rope_factors_tensor) {
      Add("rope_freqs.weight", TensorType::kF32, 1, RotaryDimensions() / 2, 0.25f, 2.0f);
    }
    for (int32_t layer = 0; layer < o.layers; ++layer) WriteLayer(absl::StrCat("blk.", layer, "."));
    Norm("output_norm.weight");
    if (!o.tied_head) Matrix("output.weight", o.head_type, kTinyVocabulary, o.hidden, 3);
  }

  void WriteLayer(const std::string& prefix) {
    const TinyModelOptions& o = options();
    const int64_t queries = int64_t{o.heads} * o.head_size, keys = int64_t{o.kv_heads} * o.head_size;
    Norm(prefix + "attn_norm.weight");
    Matrix(prefix + "attn_q.weight", o.attention_type, queries, o.hidden, 1.3f);
    Matrix(prefix + "attn_k.weight", o.attention_type, keys, o.hidden, 1.3f);
    Matrix(prefix + "attn_v.weight", o.attention_type, keys, o.hidden, 1.5f);
    Matrix(prefix + "attn_output.weight", o.attention_type, o.hidden, queries, 1.5f);
    if (o.qkv_bias) {
      Bias(prefix + "attn_q.bias", queries);
      Bias(prefix + "attn_k.bias", keys);
      Bias(prefix + "attn_v.bias", keys);
    }
    if (o.output_bias) Bias(prefix + "attn_output.bias", o.hidden);
    Norm(prefix + "ffn_norm.weight");
    Matrix(prefix + "ffn_gate.weight", o.feed_forward_type, o.feed_forward, o.hidden, 1.5f);
    Matrix(prefix + "ffn_up.weight", o.feed_forward_type, o.feed_forward, o.hidden, 1.5f);
    Matrix(prefix + "ffn_down.weight", o.feed_forward_type, o.hidden, o.feed_forward, 1.5f);
  }

  TinyModel model_;
  Random random_;
};

class OwnedBytesFile final : public RandomAccessFile {
 public:
  explicit OwnedBytesFile(std::vector<uint8_t> bytes)
      : bytes_(std::move(bytes)), file_(BorrowMemory(bytes_.data(), bytes_.size())) {}
  uint64_t size_bytes() const override { return file_->size_bytes(); }
  absl::string_view name() const override { return file_->name(); }
  absl::Status ReadAt(uint64_t offset, void* data, size_t size_bytes) const override {
    return file_->ReadAt(offset, data, size_bytes);
  }
  const uint8_t* Borrow(uint64_t offset, size_t size_bytes) const override {
    return file_->Borrow(offset, size_bytes);
  }

 private:
  const std::vector<uint8_t> bytes_;
  const std::unique_ptr<RandomAccessFile> file_;
};

}  // namespace

TinyModelOptions TinyOptionsOfType(TensorType type) {
  TinyModelOptions options;
  options.hidden = options.feed_forward = 256;
  options.heads = 4;
  options.kv_heads = 2;
  options.head_size = 64;
  options.embedding_type = options.head_type = type;
  options.attention_type = options.feed_forward_type = type;
  return options;
}

TinyModelOptions TinyQwen2Options() {
  TinyModelOptions options;
  options.architecture = "qwen2";
  options.qkv_bias = true;
  options.tied_head = false;
  options.frequency_base = 1000000.0f;
  return options;
}

TinyModel BuildTinyModel(const TinyModelOptions& options) { return Builder(options).Build(); }

std::vector<uint8_t> MakeTinyModel(const TinyModelOptions& options) { return BuildTinyModel(options).bytes; }

std::shared_ptr<const RandomAccessFile> FileOf(std::vector<uint8_t> bytes) {
  return std::make_shared<OwnedBytesFile>(std::move(bytes));
}

}  // namespace tessera

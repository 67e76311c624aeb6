#include "bench/shaped_model.h"

#include <algorithm>
#include <cstring>

namespace tessera_bench {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kF32 = 0, kQ4_0 = 2, kQ8_0 = 8;  // tensor types
constexpr uint32_t kUint32 = 4, kFloat32 = 6, kString = 8, kArray = 9;
constexpr size_t kBlocks = 65521;  // a prime, so that no two rows of a matrix are alike

template <typename T>
void Put(std::vector<uint8_t>* out, T value) {
  const size_t at = out->size();
  out->resize(at + sizeof value);
  std::memcpy(out->data() + at, &value, sizeof value);
}

void PutString(std::vector<uint8_t>* out, const std::string& text) {
  Put(out, static_cast<uint64_t>(text.size()));
  out->insert(out->end(), text.begin(), text.end());
}

// The metadata, counted as it is written.
class Metadata {
 public:
  void Number(const std::string& key, uint32_t value) {
    Begin(key, kUint32);
    Put(&bytes_, value);
  }
  void Float(const std::string& key, float value) {
    Begin(key, kFloat32);
    Put(&bytes_, value);
  }
  void String(const std::string& key, const std::string& value) {
    Begin(key, kString);
    PutString(&bytes_, value);
  }
  void Strings(const std::string& key, const std::vector<std::string>& values) {
    Begin(key, kArray);
    Put(&bytes_, kString);
    Put(&bytes_, static_cast<uint64_t>(values.size()));
    for (const std::string& value : values) PutString(&bytes_, value);
  }
  uint64_t count() const { return count_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  void Begin(const std::string& key, uint32_t type) {
    PutString(&bytes_, key);
    Put(&bytes_, type);
    ++count_;
  }
  std::vector<uint8_t> bytes_;
  uint64_t count_ = 0;
};

uint64_t AlignUp(uint64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

// A scale in half precision that gives weights of about 1 / sqrt(2048), and random codes.
std::vector<uint8_t> MakeBlocks(uint32_t type, uint64_t block_bytes) {
  const uint16_t scale = type == kQ4_0 ? 0x1D1F /* 0.005 */ : 0x0CEA /* 0.0003 */;
  std::vector<uint8_t> blocks(kBlocks * block_bytes);
  uint64_t random = 1;
  for (size_t i = 0; i < blocks.size(); ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    blocks[i] = static_cast<uint8_t>(random >> 56);
  }
  for (size_t block = 0; block < kBlocks; ++block) {
    std::memcpy(&blocks[block * block_bytes], &scale, sizeof scale);
  }
  return blocks;
}

}  // namespace

ShapedModel::ShapedModel(const ModelShape& shape)
    : type_(shape.type == "q8_0" ? kQ8_0 : kQ4_0), block_bytes_(type_ == kQ8_0 ? 34 : 18) {
  blocks_ = MakeBlocks(type_, block_bytes_);
  AddTensor("token_embd.weight", shape.hidden, shape.vocabulary, true);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) AddLayer(layer, shape);
  AddTensor("output_norm.weight", shape.hidden, 1, false);
  WriteHeader(shape);
}

void ShapedModel::AddTensor(const std::string& name, uint64_t columns, uint64_t rows, bool matrix) {
  PutString(&entries_, name);
  Put(&entries_, uint32_t{matrix ? 2u : 1u});
  Put(&entries_, columns);
  if (matrix) Put(&entries_, rows);
  Put(&entries_, matrix ? type_ : kF32);
  Put(&entries_, data_bytes_);
  const uint64_t bytes = matrix ? columns / 32 * block_bytes_ * rows : columns * sizeof(float);
  tensors_.push_back({data_bytes_, data_bytes_ + bytes, matrix});
  data_bytes_ = AlignUp(data_bytes_ + bytes);
}

void ShapedModel::AddLayer(uint32_t layer, const ModelShape& shape) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const uint64_t query = uint64_t{shape.heads} * shape.head_size;
  const uint64_t key = uint64_t{shape.kv_heads} * shape.head_size;
  AddTensor(prefix + "attn_norm.weight", shape.hidden, 1, false);
  AddTensor(prefix + "attn_q.weight", shape.hidden, query, true);
  AddTensor(prefix + "attn_k.weight", shape.hidden, key, true);
  AddTensor(prefix + "attn_v.weight", shape.hidden, key, true);
  AddTensor(prefix + "attn_output.weight", query, shape.hidden, true);
  AddTensor(prefix + "ffn_norm.weight", shape.hidden, 1, false);
  AddTensor(prefix + "ffn_gate.weight", shape.hidden, shape.feed_forward, true);
  AddTensor(prefix + "ffn_up.weight", shape.hidden, shape.feed_forward, true);
  AddTensor(prefix + "ffn_down.weight", shape.feed_forward, shape.hidden, true);
}

void ShapedModel::WriteHeader(const ModelShape& shape) {
  Metadata metadata;
  metadata.String("general.architecture", "llama");
  metadata.Number("llama.block_count", shape.layers);
  metadata.Number("llama.embedding_length", shape.hidden);
  metadata.Number("llama.feed_forward_length", shape.feed_forward);
  metadata.Number("llama.attention.head_count", shape.heads);
  metadata.Number("llama.attention.head_count_kv", shape.kv_heads);
  metadata.Number("llama.attention.key_length", shape.head_size);
  metadata.Number("llama.attention.value_length", shape.head_size);
  metadata.Number("llama.rope.dimension_count", shape.head_size);
  metadata.Float("llama.rope.freq_base", 500000.0f);
  metadata.Float("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  metadata.Number("llama.context_length", shape.context_tokens);
  metadata.Number("llama.vocab_size", shape.vocabulary);
  metadata.String("tokenizer.ggml.model", "gpt2");
  metadata.String("tokenizer.ggml.pre", "llama-bpe");
  std::vector<std::string> tokens;
  for (uint32_t i = 0; i < shape.vocabulary; ++i) {
    tokens.emplace_back("t");
    tokens.back() += std::to_string(i);
  }
  metadata.Strings("tokenizer.ggml.tokens", tokens);
  metadata.Strings("tokenizer.ggml.merges", {});

  Put(&header_, uint32_t{0x46554747});  // "GGUF"
  Put(&header_, uint32_t{3});
  Put(&header_, static_cast<uint64_t>(tensors_.size()));
  Put(&header_, metadata.count());
  header_.insert(header_.end(), metadata.bytes().begin(), metadata.bytes().end());
  header_.insert(header_.end(), entries_.begin(), entries_.end());
  header_.resize(AlignUp(header_.size()));
  for (Tensor& tensor : tensors_) {
    tensor.begin += header_.size();
    tensor.end += header_.size();
  }
}

void ShapedModel::Read(uint64_t offset, uint8_t* out, size_t size) const {
  std::memset(out, 0, size);
  const uint64_t end = offset + size;
  if (offset < header_.size()) {
    std::memcpy(out, &header_[offset], std::min<uint64_t>(size, header_.size() - offset));
  }
  for (const Tensor& tensor : tensors_) {
    uint64_t at = std::max(offset, tensor.begin);
    const uint64_t stop = std::min(end, tensor.end);
    while (at < stop) {
      uint8_t* const to = out + (at - offset);
      if (tensor.matrix) {
        const uint64_t from = (at - tensor.begin) % blocks_.size();
        const uint64_t count = std::min<uint64_t>(stop - at, blocks_.size() - from);
        std::memcpy(to, &blocks_[from], count);
        at += count;
      } else {
        const float one = 1;
        *to = reinterpret_cast<const uint8_t*>(&one)[(at - tensor.begin) % sizeof one];
        ++at;
      }
    }
  }
}

tsr_reader ShapedModel::Reader() {
  tsr_reader reader = {};
  reader.struct_size = sizeof reader;
  reader.user = this;
  reader.size_bytes = header_.size() + data_bytes_;
  reader.read_at = [](void* user, uint64_t offset, void* buffer, size_t size) -> int64_t {
    auto* const model = static_cast<ShapedModel*>(user);
    model->Read(offset, static_cast<uint8_t*>(buffer), size);
    model->bytes_read_ += size;
    return static_cast<int64_t>(size);
  };
  return reader;
}

}  // namespace tessera_bench

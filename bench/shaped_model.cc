#include "bench/shaped_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tessera_bench {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ8_0 = 8, kBf16 = 30;  // tensor types
constexpr uint32_t kUint32 = 4, kFloat32 = 6, kString = 8, kArray = 9;
constexpr uint64_t kBlockWeights = 32;
// Primes, so that no two rows of a matrix are alike.
constexpr size_t kQuantisedBlocks = 65521, kFloatBlocks = 1048573;
constexpr float kDeviation = 0.02f;  // of floating-point weights

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

struct TypeOf {
  const char* name;
  uint32_t type;
  uint64_t block_bytes;
};
constexpr TypeOf kTypes[] = {
    {"q4_0", kQ4_0, 18}, {"q8_0", kQ8_0, 34}, {"f16", kF16, 64}, {"bf16", kBf16, 64}};

const TypeOf& FindType(const std::string& name) {
  for (const TypeOf& type : kTypes) {
    if (name == type.name) return type;
  }
  return kTypes[0];
}

class Random {
 public:
  uint64_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return state_;
  }

 private:
  uint64_t state_ = 1;
};

uint16_t ToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Of a value below 1 in magnitude; halves are rounded away from zero.
uint16_t ToF16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  constexpr uint32_t kLeastNormal = 113u << 23;  // 2^-14
  if (magnitude >= kLeastNormal) {
    return static_cast<uint16_t>(sign | (((magnitude - (112u << 23)) + 0x1000) >> 13));
  }
  return static_cast<uint16_t>(sign |
                               static_cast<uint32_t>(std::lround(std::fabs(value) * 16777216.0f)));  // 2^24
}

// About normally distributed: the sum of four uniform numbers, whose variance is 1/3.
std::vector<uint8_t> MakeFloats(uint32_t type) {
  std::vector<uint16_t> weights(kFloatBlocks * kBlockWeights);
  Random random;
  for (uint16_t& weight : weights) {
    uint64_t bits = random.Next();
    bits ^= bits >> 32;  // the low ones are poor
    float sum = -2;
    for (int part = 0; part < 4; ++part) {
      sum += static_cast<float>(bits >> (15 * part) & 0x7FFF) * (1.0f / 32768);
    }
    const float value = sum * (1.7320508f * kDeviation);
    weight = type == kF16 ? ToF16(value) : ToBf16(value);
  }
  std::vector<uint8_t> bytes(weights.size() * sizeof(uint16_t));
  std::memcpy(bytes.data(), weights.data(), bytes.size());
  return bytes;
}

// A scale in half precision that gives weights of about 1 / sqrt(2048), and random codes.
std::vector<uint8_t> MakeQuantised(uint32_t type, uint64_t block_bytes) {
  const uint16_t scale = type == kQ4_0 ? 0x1D1F /* 0.005 */ : 0x0CEA /* 0.0003 */;
  std::vector<uint8_t> blocks(kQuantisedBlocks * block_bytes);
  Random random;
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(random.Next() >> 56);
  for (size_t block = 0; block < kQuantisedBlocks; ++block) {
    std::memcpy(&blocks[block * block_bytes], &scale, sizeof scale);
  }
  return blocks;
}

}  // namespace

bool FindShape(const std::string& name, ModelShape* shape) {
  *shape = ModelShape();
  if (name == "8b") {
    shape->layers = 32;
    shape->hidden = 4096;
    shape->feed_forward = 14336;
    shape->head_size = 128;
    shape->context_tokens = 131072;
    shape->tied = false;
  } else if (name == "tiny") {
    shape->layers = 2;
    shape->hidden = 256;
    shape->feed_forward = 512;
    shape->heads = 4;
    shape->kv_heads = 2;
    shape->vocabulary = 1024;
  } else {
    return name == "1b";
  }
  return true;
}

ShapedModel::ShapedModel(const ModelShape& shape, uint64_t pool_bytes)
    : type_(FindType(shape.type).type), block_bytes_(FindType(shape.type).block_bytes) {
  const bool floats = type_ == kF16 || type_ == kBf16;
  blocks_ = floats ? MakeFloats(type_) : MakeQuantised(type_, block_bytes_);
  const size_t once = blocks_.size();
  blocks_.resize(std::max<uint64_t>(1, (pool_bytes + once - 1) / once) * once);
  for (size_t at = once; at < blocks_.size(); at += once) std::memcpy(&blocks_[at], blocks_.data(), once);
  AddTensor("token_embd.weight", shape.hidden, shape.vocabulary, true);

  for (uint32_t layer = 0; layer < shape.layers; ++layer) AddLayer(layer, shape);
  AddTensor("output_norm.weight", shape.hidden, 1, false);
  if (!shape.tied) AddTensor("output.weight", shape.hidden, shape.vocabulary, true);
  for (const Tensor& tensor : tensors_) step_bytes_ += tensor.matrix ? tensor.end - tensor.begin : 0;
  const uint64_t table_bytes = tensors_.front().end - tensors_.front().begin;
  if (!shape.tied) step_bytes_ -= table_bytes;
  token_products_ = (step_bytes_ - table_bytes) / block_bytes_ * kBlockWeights;
  WriteHeader(shape);
}

void ShapedModel::AddTensor(const std::string& name, uint64_t columns, uint64_t rows, bool matrix) {
  PutString(&entries_, name);
  Put(&entries_, uint32_t{matrix ? 2u : 1u});
  Put(&entries_, columns);
  if (matrix) Put(&entries_, rows);
  Put(&entries_, matrix ? type_ : kF32);
  Put(&entries_, data_bytes_);
  const uint64_t bytes = matrix ? columns / kBlockWeights * block_bytes_ * rows : columns * sizeof(float);
  const uint64_t phase = tensors_.size() * 104729 % (blocks_.size() / block_bytes_) * block_bytes_;
  tensors_.push_back({data_bytes_, data_bytes_ + bytes, matrix, phase});
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
  const uint64_t end = offset + size;
  uint64_t at = offset;
  if (at < header_.size()) {
    at = std::min<uint64_t>(end, header_.size());
    std::memcpy(out, &header_[offset], at - offset);
  }
  auto tensor = std::upper_bound(tensors_.begin(), tensors_.end(), at,
                                 [](uint64_t place, const Tensor& of) { return place < of.end; });
  for (; at < end; ++tensor) {
    const uint64_t begin = tensor == tensors_.end() ? end : std::min(end, tensor->begin);
    if (at < begin) std::memset(out + (at - offset), 0, begin - at);  // between tensors
    at = std::max(at, begin);
    if (at == end) break;
    const uint64_t stop = std::min(end, tensor->end);
    ReadTensor(*tensor, at - tensor->begin, stop - tensor->begin, out + (at - offset));
    at = stop;
  }
}

// Its bytes [from, to).
void ShapedModel::ReadTensor(const Tensor& tensor, uint64_t from, uint64_t to, uint8_t* out) const {
  if (!tensor.matrix) {
    const float one = 1;
    for (; from < to; ++from) *out++ = reinterpret_cast<const uint8_t*>(&one)[from % sizeof one];
    return;
  }
  while (from < to) {
    const uint64_t place = (tensor.phase + from) % blocks_.size();
    const uint64_t count = std::min<uint64_t>(to - from, blocks_.size() - place);
    std::memcpy(out, &blocks_[place], count);
    out += count;
    from += count;
  }
}

tsr_reader ShapedModel::Reader() {
  tsr_reader reader = {};
  reader.struct_size = sizeof reader;
  reader.user = this;
  reader.size_bytes = file_bytes();
  reader.read_at = [](void* user, uint64_t offset, void* buffer, size_t size) -> int64_t {
    auto* const model = static_cast<ShapedModel*>(user);
    model->Read(offset, static_cast<uint8_t*>(buffer), size);
    model->bytes_read_ += size;
    return static_cast<int64_t>(size);
  };
  return reader;
}

}  // namespace tessera_bench

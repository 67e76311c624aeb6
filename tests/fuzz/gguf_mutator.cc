// The structure-aware mutator of GGUF files: most of its results pass the first checks and reach the later
// ones.
#include "tests/fuzz/gguf_mutator.h"

#include <cstring>
#include <random>
#include <string>
#include <utility>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace tessera {
namespace {

constexpr uint32_t kString = 8, kArray = 9;

constexpr const char* kKeys[] = {"general.architecture",
                                 "general.type",
                                 "general.name",
                                 "general.alignment",
                                 "split.count",
                                 "llama.block_count",
                                 "llama.context_length",
                                 "llama.embedding_length",
                                 "llama.feed_forward_length",
                                 "llama.vocab_size",
                                 "llama.attention.head_count",
                                 "llama.attention.head_count_kv",
                                 "llama.attention.key_length",
                                 "llama.attention.value_length",
                                 "llama.attention.layer_norm_rms_epsilon",
                                 "llama.attention.sliding_window",
                                 "llama.attention.causal",
                                 "llama.rope.dimension_count",
                                 "llama.rope.freq_base",
                                 "llama.rope.scale_linear",
                                 "llama.rope.scaling.type",
                                 "llama.rope.scaling.factor",
                                 "llama.rope.scaling.attn_factor",
                                 "llama.rope.scaling.original_context_length",
                                 "llama.rope.scaling.yarn_beta_fast",
                                 "llama.rope.scaling.yarn_beta_slow",
                                 "llama.expert_count",
                                 "llama.unheard_of"};
constexpr const char* kTexts[] = {"llama",  "qwen2", "mamba", "model",   "adapter",
                                  "linear", "yarn",  "none",  "longrope"};
constexpr const char* kNames[] = {
    "token_embd.weight",      "output_norm.weight",    "output.weight",         "rope_freqs.weight",
    "blk.0.attn_norm.weight", "blk.0.attn_q.weight",   "blk.0.attn_q.bias",     "blk.0.attn_k.weight",
    "blk.0.attn_output.bias", "blk.0.ffn_norm.weight", "blk.0.ffn_down.weight", "blk.0.attn_q_norm.weight",
    "blk.1.attn_norm.weight"};
constexpr uint64_t kNumbers[] = {0,
                                 1,
                                 2,
                                 3,
                                 4,
                                 5,
                                 7,
                                 8,
                                 16,
                                 31,
                                 32,
                                 33,
                                 64,
                                 65,
                                 255,
                                 256,
                                 257,
                                 1024,
                                 1025,
                                 4096,
                                 4097,
                                 65535,
                                 65536,
                                 65537,
                                 1u << 20,
                                 1u << 24,
                                 INT32_MAX,
                                 uint64_t{INT32_MAX} + 1,
                                 UINT32_MAX,
                                 uint64_t{1} << 32,
                                 uint64_t{1} << 61,
                                 uint64_t{1} << 62,
                                 INT64_MAX,
                                 uint64_t{1} << 63,
                                 UINT64_MAX - 31,
                                 UINT64_MAX};
constexpr float kFloats[] = {
    0, 1, -1, 0.5f, 1e-6f, 1e-38f, 4, 10000, 1e30f, __builtin_inff(), __builtin_nanf("")};
constexpr uint32_t kTypes[] = {0, 1, 2, 3, 8, 12, 13, 14, 30, 31, 39, 4000};

class Mutation {
 public:
  Mutation(GgufWriter* file, uint32_t seed) : file_(*file), random_(seed) {}

  void Apply() {
    switch (Below(12)) {
      case 0:
        return Header();
      case 1:
        return Remove();
      case 2:
        return Duplicate();
      case 3:
        return AddKey();
      case 4:
        return AddTensor();
      case 5:
      case 6:
      case 7:
        return ChangeKey();
      case 8:
        return ChangeName();
      case 9:
        return ChangeShape();
      default:
        return ChangeTensor();
    }
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  template <typename T, size_t n>
  T Pick(const T (&table)[n]) {
    return table[Below(n)];
  }
  GgufWriter::ValueEntry* AnyKey() {
    return file_.values.empty() ? nullptr : &file_.values[Below(file_.values.size())];
  }
  GgufWriter::TensorEntry* AnyTensor() {
    return file_.tensors.empty() ? nullptr : &file_.tensors[Below(file_.tensors.size())];
  }
  // A number near what was there, or one that is an edge somewhere.
  uint64_t Number(uint64_t old) {
    switch (Below(4)) {
      case 0:
        return old + 1;
      case 1:
        return old - 1;
      case 2:
        return old * 2;
      default:
        return Pick(kNumbers);
    }
  }

  void Header() {
    switch (Below(5)) {
      case 0:
        file_.version = static_cast<uint32_t>(Below(5));
        return;
      case 1:
        file_.version = 0x03000000;
        return;
      case 2:
        file_.tensor_count = Number(file_.tensors.size());
        return;
      case 3:
        file_.metadata_count = Number(file_.values.size());
        return;
      default:
        file_.Alignment(uint32_t{1} << Below(13));
        return;
    }
  }

  void Remove() {
    if (Below(2) == 0 && !file_.values.empty()) {
      file_.values.erase(file_.values.begin() + static_cast<ptrdiff_t>(Below(file_.values.size())));
    } else if (!file_.tensors.empty()) {
      file_.tensors.erase(file_.tensors.begin() + static_cast<ptrdiff_t>(Below(file_.tensors.size())));
    }
  }

  void Duplicate() {
    if (Below(2) == 0 && !file_.values.empty()) {
      GgufWriter::ValueEntry copy = *AnyKey();
      if (Below(2) == 0) copy.key = Pick(kKeys);
      file_.values.insert(file_.values.begin() + static_cast<ptrdiff_t>(Below(file_.values.size() + 1)),
                          copy);
    } else if (!file_.tensors.empty()) {
      GgufWriter::TensorEntry copy = *AnyTensor();
      if (Below(2) == 0) copy.name = Pick(kNames);
      file_.tensors.push_back(copy);
    }
  }

  void SetValue(GgufWriter::ValueEntry* entry) {
    ByteBuilder body;
    constexpr uint32_t kUsual[] = {4, 4, 6, kString};
    entry->type = Below(2) == 0 ? Pick(kUsual) : static_cast<uint32_t>(Below(13));
    switch (entry->type) {
      case 0:
      case 1:
      case 7:
        body.Number(static_cast<uint8_t>(Pick(kNumbers)));
        break;
      case 2:
      case 3:
        body.Number(static_cast<uint16_t>(Pick(kNumbers)));
        break;
      case 4:
      case 5:
        body.Number(static_cast<uint32_t>(Pick(kNumbers)));
        break;
      case 6:
        body.Number(Pick(kFloats));
        break;
      case kString:
        body.String(Pick(kTexts));
        break;
      case kArray:
        Array(&body);
        break;
      case 12:
        body.Number(static_cast<double>(Pick(kFloats)));
        break;
      default:
        body.Number(Pick(kNumbers));
        break;
    }
    entry->bytes = body.Take();
  }

  void Array(ByteBuilder* body) {
    const auto element = static_cast<uint32_t>(Below(14));
    const uint64_t count = Below(6);
    body->Number(element).Number(Below(4) == 0 ? Number(count) : count);
    for (uint64_t i = 0; i < count; ++i) {
      if (element == kString) {
        body->String(std::string(Below(9), 'x'));
      } else {
        body->Number(Pick(kNumbers));
      }
    }
  }

  void AddKey() {
    GgufWriter::ValueEntry entry;
    entry.key = Pick(kKeys);
    SetValue(&entry);
    if (Below(2) == 0) file_.Remove(entry.key);
    file_.values.push_back(std::move(entry));
  }

  void AddTensor() {
    GgufWriter::TensorEntry entry;
    entry.name = Pick(kNames);
    entry.shape = {1 + Below(64)};
    if (Below(2) == 0) entry.shape.push_back(1 + Below(8));
    entry.bytes.resize(Below(2) == 0 ? 256 : 0);
    file_.tensors.push_back(std::move(entry));
  }

  void ChangeKey() {
    GgufWriter::ValueEntry* entry = AnyKey();
    if (entry == nullptr) return;
    switch (Below(6)) {
      case 0:
        entry->key = Pick(kKeys);
        return;
      case 1:
        entry->key.resize(Below(3) * Below(70000));
        return;
      case 2:
        entry->type = static_cast<uint32_t>(Below(15));
        return;
      case 3:
        return SetValue(entry);
      case 4:
        return ChangeBytes(&entry->bytes);
      default:
        return ChangeNumber(entry);
    }
  }

  void ChangeNumber(GgufWriter::ValueEntry* entry) {
    const bool wide = entry->bytes.size() >= 8 && Below(2) == 0;
    if (wide) {  // also the length of a string
      uint64_t number = 0;
      memcpy(&number, entry->bytes.data(), sizeof(number));
      number = Number(number);
      memcpy(entry->bytes.data(), &number, sizeof(number));
    } else if (entry->bytes.size() >= 4) {
      uint32_t number = 0;
      memcpy(&number, entry->bytes.data(), sizeof(number));
      number = static_cast<uint32_t>(Number(number));
      if (entry->type == 6) {
        const float real = Pick(kFloats);
        memcpy(&number, &real, sizeof(number));
      }
      memcpy(entry->bytes.data(), &number, sizeof(number));
    }
  }

  void ChangeBytes(std::vector<uint8_t>* bytes) {
    const size_t size = bytes->size();
    bytes->resize(size + 16);
    bytes->resize(LLVMFuzzerMutate(bytes->data(), size, bytes->size()));
  }

  void ChangeName() {
    GgufWriter::TensorEntry* tensor = AnyTensor();
    if (tensor == nullptr) return;
    if (Below(3) == 0) {
      tensor->name.resize(Below(70), 'x');
    } else {
      tensor->name = Pick(kNames);
    }
  }

  void ChangeShape() {
    GgufWriter::TensorEntry* tensor = AnyTensor();
    if (tensor == nullptr) return;
    switch (Below(4)) {
      case 0:
        tensor->dimensions = static_cast<uint32_t>(Number(tensor->shape.size()));
        return;
      case 1:
        tensor->shape.push_back(Below(3));
        return;
      case 2:
        if (tensor->shape.size() > 1) std::swap(tensor->shape[0], tensor->shape[1]);
        return;
      default:
        if (!tensor->shape.empty()) {
          uint64_t& extent = tensor->shape[Below(tensor->shape.size())];
          extent = Number(extent);
        }
    }
  }

  void ChangeTensor() {
    GgufWriter::TensorEntry* tensor = AnyTensor();
    if (tensor == nullptr) return;
    switch (Below(4)) {
      case 0:
        tensor->type = Pick(kTypes);
        return;
      case 1:
        tensor->offset = Number(32 * Below(64));
        return;
      case 2:
        tensor->bytes.resize(Below(512));
        return;
      default:
        return ChangeBytes(&tensor->bytes);
    }
  }

  GgufWriter& file_;
  std::minstd_rand random_;
};

}  // namespace

void MutateGguf(GgufWriter* file, uint32_t seed) { Mutation(file, seed).Apply(); }

}  // namespace tessera

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  constexpr unsigned kPlainEvery = 4;
  std::optional<tessera::GgufWriter> file;
  if (seed % kPlainEvery != 0) file = tessera::TakeApart(data, size);
  if (!file.has_value()) return LLVMFuzzerMutate(data, size, max_size);
  tessera::MutateGguf(&*file, seed / kPlainEvery);
  const std::vector<uint8_t> bytes = file->Build();
  if (bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

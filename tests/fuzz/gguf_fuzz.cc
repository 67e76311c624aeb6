// Any bytes through the GGUF reader and the model reader: an error or a consistent result, never a crash, and
// never more memory than the file's size + 64 MiB.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/model/model_spec.h"
#include "tests/doubles/fake_file.h"
#include "tests/fuzz/live_memory.h"

namespace tessera {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "gguf_fuzz: broken: %s\n", what);
  std::abort();
}

void CheckGetters(const GgufFile& file) {
  for (const auto& [key, value] : file.metadata()) {
    Require(file.Find(key) == &value, "a key is found");
    const bool integer = file.GetInt(key).ok(), number = file.GetFloat(key).ok();
    const bool boolean = file.GetBool(key).ok(), text = file.GetString(key).ok();
    Require(value.is_array ? !integer && !number && !boolean && !text : number + boolean + text == 1,
            "a scalar is of one kind");
    Require(!integer || number, "an integer is a number");
    uint64_t seen = 0;
    for (const int64_t each : value.integers) seen += each >= INT64_MIN;
    for (const double each : value.floats) seen += std::isnan(each) || each <= INFINITY;
    for (const absl::string_view each : value.strings) seen += each.size() <= file.file().size_bytes();
    Require(seen == value.count(), "every element is reached");
  }
}

void CheckTensors(const GgufFile& file) {
  std::vector<uint8_t> used(file.file().size_bytes());
  for (const GgufTensor& tensor : file.tensors()) {
    Require(file.FindTensor(tensor.name) == &tensor, "a tensor is found");
    Require(tensor.size_bytes == tensor.rows() * RowBytes(tensor.type, tensor.columns()),
            "a tensor has its bytes");
    Require(tensor.file_offset + tensor.size_bytes <= used.size(), "a tensor lies in the file");
    for (uint64_t i = 0; i < tensor.size_bytes; ++i) {
      Require(used[tensor.file_offset + i]++ == 0, "tensors do not overlap");
    }
  }
}

void CheckSpec(const ModelSpec& spec) {
  const auto known = [&](TensorId id) { return id >= 0 && static_cast<size_t>(id) < spec.tensors.size(); };
  Require(known(spec.embedding) && known(spec.head) && known(spec.output_norm), "outer tensors are bound");
  Require(!spec.layers.empty() && !spec.cache_groups.empty(), "there are layers");
  Require(spec.rotary.inverse_frequencies.size() * 2 == static_cast<size_t>(spec.rotary.dimensions),
          "every rotary pair has a frequency");
  for (const float frequency : spec.rotary.inverse_frequencies) {
    Require(std::isfinite(frequency) && frequency >= 0, "frequencies are finite");
  }
  for (const LayerSpec& layer : spec.layers) {
    const AttentionSpec& attention = layer.attention;
    Require(attention.heads % attention.kv_heads == 0 && attention.head_size > 0, "heads divide");
    Require(std::isfinite(attention.scale) && spec.rotary.dimensions <= attention.head_size,
            "attention is sane");
    for (const TensorId id : {layer.attention_norm, layer.query, layer.key, layer.value, layer.output,
                              layer.feed_forward_norm, layer.gate, layer.up, layer.down}) {
      Require(known(id), "a layer's tensors are bound");
    }
    const TensorSpec& query = spec.tensors[static_cast<size_t>(layer.query)];
    Require(query.rows == int64_t{attention.heads} * attention.head_size && query.columns == spec.hidden_size,
            "shapes agree with the metadata");
  }
  Require(spec.parameters() > 0 && spec.bytes_per_token() > 0, "a model has weights");
}

void Run(const std::shared_ptr<const RandomAccessFile>& file) {
  live_bytes = 0;
  peak_bytes = 0;
  counting = true;
  {
    auto read = GgufFile::Read(file);
    if (read.ok()) {
      auto spec = ReadModelSpec(**read);
      counting = false;
      // Four getters a key, most of which fail and build a message: an eighth of the inputs is enough.
      if (file->size_bytes() % 8 == 0) CheckGetters(**read);
      CheckTensors(**read);
      if (spec.ok()) CheckSpec(*spec);
    }
    counting = false;
  }
  const int64_t allowed = static_cast<int64_t>(file->size_bytes()) + (int64_t{64} << 20);
  Require(peak_bytes.load() <= allowed, "memory is bounded by the file's size + 64 MiB");
}

}  // namespace
}  // namespace tessera

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  __sanitizer_install_malloc_and_free_hooks(tessera::OnMalloc, tessera::OnFree);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tessera::Run(tessera::BorrowMemory(data, size));
  if (size % 16 == 0) {  // now and then a read fails
    auto file = std::make_shared<tessera::FakeFile>(std::vector<uint8_t>(data, data + size));
    file->FailRead(static_cast<int64_t>(size / 16 % 3));
    tessera::Run(file);
  }
  return 0;
}

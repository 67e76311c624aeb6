// GGUF v2 and v3: the header, the metadata and the list of tensors of a file, all of it checked before use.
// Every size, count, offset, alignment, string and nesting is held against the file's length with
// overflow-safe arithmetic; memory is bounded by the file's size + 64 MiB. Knows nothing of model families.
#ifndef TESSERA_CORE_MODEL_GGUF_H_
#define TESSERA_CORE_MODEL_GGUF_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/env/file.h"
#include "core/model/gguf_value.h"
#include "core/model/tensor_type.h"

namespace tessera {

struct GgufTensor {
  std::string name;
  TensorType type = TensorType::kF32;
  uint32_t dimensions = 1;  // 1 to 4
  // GGUF's order: shape[0] is the innermost, contiguous one (a row's columns).
  uint64_t shape[4] = {1, 1, 1, 1};
  uint64_t file_offset = 0;  // from the file's start
  uint64_t size_bytes = 0;
  uint64_t columns() const { return shape[0]; }
  uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
};

class GgufFile {
 public:
  // kCorrupt with the byte offset for a broken file, kUnsupported for a valid one that needs something
  // unknown (named), and the file's own errors. Keeps `file`; reads all but the tensors' data.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Read(std::shared_ptr<const RandomAccessFile> file);

  uint32_t version() const { return version_; }
  const RandomAccessFile& file() const { return *file_; }
  // Lets go of the file once its tensors' data is read; file() must not be called afterwards.
  void CloseFile() noexcept { file_ = nullptr; }

  // In file order.
  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  size_t heap_bytes() const;  // of all this, about

  const GgufValue* Find(absl::string_view key) const;          // null: absent
  const GgufTensor* FindTensor(absl::string_view name) const;  // null: absent

  // Typed access to a scalar; kNotFound when absent, kCorrupt when of another kind. Any integer type serves
  // GetInt, any number GetFloat.
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;
  absl::StatusOr<double> GetFloat(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<absl::string_view> GetString(absl::string_view key) const;

 private:
  GgufFile() = default;
  friend class GgufParser;
  absl::StatusOr<const GgufValue*> FindScalar(absl::string_view key, absl::string_view wanted,
                                              bool (*fits)(GgufType type)) const;
  std::shared_ptr<const RandomAccessFile> file_;
  std::string name_;  // the file's
  uint32_t version_ = 0;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<uint32_t> metadata_by_key_;  // indices into metadata_, sorted by key
  std::vector<uint32_t> tensors_by_name_;  // indices into tensors_, sorted by name
};

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_GGUF_H_

// The reading of one GGUF file, step by step in file order. Private to core/model; the result is GgufFile.
#ifndef TESSERA_CORE_MODEL_GGUF_PARSER_H_
#define TESSERA_CORE_MODEL_GGUF_PARSER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/model/byte_reader.h"
#include "core/model/gguf.h"

namespace tessera {

class GgufParser {
 public:
  explicit GgufParser(GgufFile* file) : out_(*file), reader_(*file->file_) {}
  absl::Status Parse();

 private:
  absl::Status ReadHeader();

  // gguf_metadata.cc
  absl::Status ReadMetadata();
  absl::Status ReadKey(uint64_t index, std::string* key);
  absl::Status ReadValue(absl::string_view key, GgufValue* value);
  absl::Status ReadType(absl::string_view key, GgufType* type);
  absl::Status ReadNumbers(absl::string_view key, uint64_t count, GgufValue* value);
  absl::Status ReadStrings(absl::string_view key, uint64_t count, GgufValue* value);
  absl::Status ReadAlignment();

  // gguf_tensors.cc
  absl::Status ReadTensors();
  absl::Status ReadTensorEntry(uint64_t index, GgufTensor* tensor);
  absl::Status ReadShape(absl::string_view name, GgufTensor* tensor, uint64_t* elements);
  absl::Status ReadTensorType(absl::string_view name, uint64_t elements, GgufTensor* tensor);
  absl::Status PlaceTensors();
  absl::Status CheckOverlaps() const;

  // kCorrupt at `byte`, in the file.
  absl::Status Broken(uint64_t byte, absl::string_view message) const;
  absl::Status NotSupported(uint64_t byte, absl::string_view message) const;

  GgufFile& out_;
  ByteReader reader_;
  uint64_t tensor_count_ = 0;
  uint64_t metadata_count_ = 0;
  uint64_t alignment_ = 32;
};

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_GGUF_PARSER_H_

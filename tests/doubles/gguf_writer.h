// Builds GGUF files in memory, right ones and broken ones: what a test overrides is written as told,
// unchecked.
#ifndef TESSERA_TESTS_DOUBLES_GGUF_WRITER_H_
#define TESSERA_TESTS_DOUBLES_GGUF_WRITER_H_

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/model/gguf.h"

namespace tessera {

// Appends little-endian fields.
class ByteBuilder {
 public:
  template <typename T>
  ByteBuilder& Number(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    memcpy(bytes_.data() + at, &value, sizeof(T));
    return *this;
  }
  ByteBuilder& Bytes(const void* data, size_t size_bytes);
  ByteBuilder& String(const std::string& text);  // GGUF's: uint64 length, then the bytes
  ByteBuilder& PadTo(uint64_t alignment);
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  std::vector<uint8_t> Take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
};

class GgufWriter {
 public:
  struct TensorEntry {
    std::string name;
    uint32_t type = 0;
    std::vector<uint64_t> shape;  // GGUF's order
    std::vector<uint8_t> bytes;
    std::optional<uint32_t> dimensions;  // instead of shape.size()
    std::optional<uint64_t> offset;      // instead of the next aligned place
  };
  struct ValueEntry {
    std::string key;
    uint32_t type = 0;
    std::vector<uint8_t> bytes;  // all behind the type
  };

  GgufWriter& Uint32(const std::string& key, uint32_t value) { return Scalar(key, GgufType::kUint32, value); }
  GgufWriter& Int32(const std::string& key, int32_t value) { return Scalar(key, GgufType::kInt32, value); }
  GgufWriter& Uint64(const std::string& key, uint64_t value) { return Scalar(key, GgufType::kUint64, value); }
  GgufWriter& Float32(const std::string& key, float value) { return Scalar(key, GgufType::kFloat32, value); }
  GgufWriter& Bool(const std::string& key, bool value) {
    return Scalar(key, GgufType::kBool, static_cast<uint8_t>(value));
  }
  template <typename T>
  GgufWriter& Scalar(const std::string& key, GgufType type, T value) {
    return Raw(key, static_cast<uint32_t>(type), ByteBuilder().Number(value).Take());
  }
  GgufWriter& String(const std::string& key, const std::string& value);
  GgufWriter& Strings(const std::string& key, const std::vector<std::string>& values);
  template <typename T>
  GgufWriter& Array(const std::string& key, GgufType type, const std::vector<T>& values) {
    ByteBuilder body;
    body.Number(static_cast<uint32_t>(type)).Number(static_cast<uint64_t>(values.size()));
    return Raw(key, static_cast<uint32_t>(GgufType::kArray),
               body.Bytes(values.data(), values.size() * sizeof(T)).Take());
  }
  GgufWriter& Raw(const std::string& key, uint32_t type, std::vector<uint8_t> bytes);
  GgufWriter& Remove(const std::string& key);
  // Writes general.alignment too.
  GgufWriter& Alignment(uint32_t alignment);

  GgufWriter& Tensor(const std::string& name, TensorType type, const std::vector<uint64_t>& shape,
                     std::vector<uint8_t> bytes);
  GgufWriter& RemoveTensor(const std::string& name);

  std::vector<uint8_t> Build() const;

  // Open to tests that break things.
  uint32_t magic = 0x46554747;  // "GGUF"
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::optional<uint64_t> tensor_count, metadata_count;
  std::vector<ValueEntry> values;
  std::vector<TensorEntry> tensors;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_DOUBLES_GGUF_WRITER_H_

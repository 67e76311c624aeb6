// One metadata value of a GGUF file. Elements stay packed as the file stores them, so that a value never
// takes more memory than it has bytes in the file: a table of 150,000 strings is two allocations, not
// 150,000.
#ifndef TESSERA_CORE_MODEL_GGUF_VALUE_H_
#define TESSERA_CORE_MODEL_GGUF_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace tessera {

// The values are GGUF's own type numbers.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

const char* GgufTypeName(GgufType type);
uint32_t GgufTypeBytes(GgufType type);  // of a scalar; 0 for strings and arrays
inline bool IsGgufFloat(GgufType type) { return type == GgufType::kFloat32 || type == GgufType::kFloat64; }

// A key or a name from a file as messages show it: printable ASCII, the rest escaped, cut where it is very
// long.
std::string ShownName(absl::string_view name);

// Read-only containers share this: size, [], and iteration by value.
template <typename Table, typename Element>
class GgufTable {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Element;
    using difference_type = std::ptrdiff_t;
    using pointer = const Element*;
    using reference = Element;
    Iterator(const Table* table, size_t index) : table_(table), index_(index) {}
    Element operator*() const { return (*table_)[index_]; }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const Table* table_;
    size_t index_;
  };
  Iterator begin() const { return Iterator(self(), 0); }
  Iterator end() const { return Iterator(self(), self()->size()); }
  bool empty() const { return self()->size() == 0; }

 private:
  const Table* self() const { return static_cast<const Table*>(this); }
};

// Integers or booleans of one GGUF type, sign-extended at access.
class GgufIntegers : public GgufTable<GgufIntegers, int64_t> {
 public:
  GgufIntegers() = default;
  GgufIntegers(GgufType type, std::vector<uint8_t> bytes);
  size_t size() const { return bytes_.size() / element_bytes_; }
  int64_t operator[](size_t index) const;  // index < size()
  size_t heap_bytes() const { return bytes_.capacity(); }

 private:
  GgufType type_ = GgufType::kUint8;
  uint32_t element_bytes_ = 1;
  std::vector<uint8_t> bytes_;  // little-endian, as in the file
};

class GgufFloats : public GgufTable<GgufFloats, double> {
 public:
  GgufFloats() = default;
  GgufFloats(GgufType type, std::vector<uint8_t> bytes);  // kFloat32 or kFloat64
  size_t size() const { return bytes_.size() / element_bytes_; }
  double operator[](size_t index) const;  // index < size()
  size_t heap_bytes() const { return bytes_.capacity(); }

 private:
  uint32_t element_bytes_ = 4;
  std::vector<uint8_t> bytes_;
};

// Raw bytes, not necessarily UTF-8. The views live as long as the value.
class GgufStrings : public GgufTable<GgufStrings, absl::string_view> {
 public:
  GgufStrings() = default;
  // String i is text[ends[i - 1], ends[i]), with 0 before the first; ends never decrease and end at
  // text.size().
  GgufStrings(std::string text, std::vector<uint64_t> ends)
      : text_(std::move(text)), ends_(std::move(ends)) {}
  size_t size() const { return ends_.size(); }
  absl::string_view operator[](size_t index) const {  // index < size()
    const uint64_t begin = index == 0 ? 0 : ends_[index - 1];
    return absl::string_view(text_.data() + begin, ends_[index] - begin);
  }
  size_t heap_bytes() const { return text_.capacity() + ends_.capacity() * sizeof(uint64_t); }

 private:
  std::string text_;
  std::vector<uint64_t> ends_;
};

// A scalar (count 1) or an array of scalars or strings. Exactly one of the tables is filled (none for an
// empty array): integers and booleans (uint64 above INT64_MAX is refused by the reader), floats, or strings.
struct GgufValue {
  GgufType type = GgufType::kUint32;  // of the element
  bool is_array = false;
  GgufIntegers integers;
  GgufFloats floats;
  GgufStrings strings;
  uint64_t count() const { return integers.size() + floats.size() + strings.size(); }
  size_t heap_bytes() const { return integers.heap_bytes() + floats.heap_bytes() + strings.heap_bytes(); }
};

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_GGUF_VALUE_H_

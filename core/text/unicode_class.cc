// Looks characters up in the list of ranges: an index by page of 128 code points, then a short walk.
#include "core/text/unicode_class.h"

#include <cstddef>
#include <iterator>

namespace tessera::unicode_internal {
namespace {

// The range that starts at `first` and ends where the next one starts.
struct Range {
  uint32_t first;
  CharClass char_class;
};

constexpr CharClass O = CharClass::kOther;
constexpr CharClass L = CharClass::kLetter;
constexpr CharClass N = CharClass::kNumber;
constexpr CharClass S = CharClass::kSpace;
constexpr CharClass D = CharClass::kNewNumber;

constexpr Range kRanges[] = {
#include "core/text/unicode_ranges.inc"
    {0x110000, O},  // ends the walk
};

constexpr int kPageBits = 7;
constexpr size_t kPages = 0x110000 >> kPageBits;

// For each page the range that holds its first code point.
constexpr std::array<uint16_t, kPages> MakePageStarts() {
  std::array<uint16_t, kPages> starts{};
  size_t range = 0;
  for (size_t page = 0; page < kPages; ++page) {
    while (kRanges[range + 1].first <= page << kPageBits) ++range;
    starts[page] = static_cast<uint16_t>(range);
  }
  return starts;
}

constexpr std::array<uint16_t, kPages> kPageStarts = MakePageStarts();

static_assert(std::size(kRanges) < 0x10000 && kRanges[0].first == 0);

}  // namespace

CharClass SearchClass(uint32_t code_point) {
  const Range* range = kRanges + kPageStarts[code_point >> kPageBits];
  while (range[1].first <= code_point) ++range;
  return range->char_class;
}

}  // namespace tessera::unicode_internal

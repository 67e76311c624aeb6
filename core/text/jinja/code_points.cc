#include "core/text/jinja/code_points.h"

#include <algorithm>
#include <iterator>

namespace tessera::jinja {
namespace {

struct Range {
  uint32_t first, last;
};

// Unicode's White_Space and the four information separators, which Python counts too.
constexpr Range kSpaces[] = {{0x09, 0x0D},     {0x1C, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                             {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                             {0x205F, 0x205F}, {0x3000, 0x3000}};

// Controls, formats, separators, private use and noncharacters; code points that are not assigned are
// missing.
constexpr Range kUnprintable[] = {
    {0x00, 0x1F},       {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},     {0x61C, 0x61C},
    {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},     {0x1680, 0x1680},
    {0x180E, 0x180E},   {0x2000, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},
    {0xD800, 0xF8FF},   {0xFDD0, 0xFDEF},   {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF},
    {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},
    {0xE0000, 0xE00FF}, {0xE01F0, 0x10FFFF}};

template <size_t kCount>
bool Holds(const Range (&ranges)[kCount], uint32_t code_point) {
  const Range* found =
      std::lower_bound(std::begin(ranges), std::end(ranges), code_point,
                       [](const Range& range, uint32_t value) { return range.last < value; });
  return found != std::end(ranges) && found->first <= code_point;
}

}  // namespace

bool IsSpace(uint32_t code_point) { return Holds(kSpaces, code_point); }
bool IsPrintable(uint32_t code_point) { return !Holds(kUnprintable, code_point); }

size_t CountCodePoints(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !IsContinuation(byte); }));
}

size_t ByteOfCodePoint(absl::string_view text, size_t index) {
  size_t at = 0;
  for (; at < text.size() && index > 0; --index) at += DecodeUtf8(text.data() + at).bytes;
  return at;
}

size_t SkipSpace(absl::string_view text, size_t at) {
  while (at < text.size()) {
    const CodePoint point = DecodeUtf8(text.data() + at);
    if (!IsSpace(point.value)) break;
    at += point.bytes;
  }
  return at;
}

size_t EndWithoutSpace(absl::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (IsContinuation(text[begin])) --begin;
    if (!IsSpace(DecodeUtf8(text.data() + begin).value)) break;
    end = begin;
  }
  return end;
}

EncodedCodePoint EncodeUtf8(uint32_t code_point) {
  const auto byte = [](uint32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  const auto more = [&](int shift) { return byte(0x80 | ((code_point >> shift) & 0x3F)); };
  if (code_point < 0x80) return {{byte(code_point)}, 1};
  if (code_point < 0x800) return {{byte(0xC0 | code_point >> 6), more(0)}, 2};
  if (code_point < 0x10000) return {{byte(0xE0 | code_point >> 12), more(6), more(0)}, 3};
  return {{byte(0xF0 | code_point >> 18), more(12), more(6), more(0)}, 4};
}

}  // namespace tessera::jinja

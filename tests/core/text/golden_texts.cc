// A copy in C++ of the generator in tests/goldens/tokenizer/make.py; the two must draw the same numbers in
// order.
#include "tests/core/text/golden_texts.h"

namespace tessera {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Below(uint64_t limit) {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return (z ^ (z >> 31)) % limit;
  }

 private:
  uint64_t state_;
};

constexpr uint32_t kSurrogates = 0x800;

void AppendUtf8(uint32_t c, std::string* text) {
  const auto put = [text](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  const auto more = [&put, c](int shift) { put(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    more(0);
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    more(6);
    more(0);
  } else {
    put(0xF0 | c >> 18);
    more(12);
    more(6);
    more(0);
  }
}

// The index-th code point that is no surrogate.
void AppendScalar(uint64_t index, std::string* text) {
  AppendUtf8(static_cast<uint32_t>(index < 0xD800 ? index : index + kSurrogates), text);
}

void AppendSegment(const std::vector<std::string>& fragments, Random* random, std::string* text) {
  const uint64_t kind = random->Below(8);
  if (kind < 4) {
    *text += fragments[random->Below(fragments.size())];
  } else if (kind == 4) {
    const uint64_t times = 1 + random->Below(5);
    const std::string& fragment = fragments[random->Below(fragments.size())];
    for (uint64_t i = 0; i < times; ++i) *text += fragment;
  } else if (kind == 5) {
    for (uint64_t left = 1 + random->Below(4); left > 0; --left) {
      AppendScalar(random->Below(0x110000 - kSurrogates), text);
    }
  } else if (kind == 6) {
    for (uint64_t left = 1 + random->Below(6); left > 0; --left) AppendScalar(random->Below(0x3000), text);
  } else {
    for (uint64_t left = 1 + random->Below(12); left > 0; --left) {
      const uint64_t ascii = random->Below(97);
      text->push_back(ascii == 95 ? '\n' : ascii == 96 ? '\t' : static_cast<char>(32 + ascii));
    }
  }
}

}  // namespace

std::string RandomGoldenText(uint64_t index, const std::vector<std::string>& fragments) {
  Random random(index);
  std::string once;
  for (uint64_t left = 1 + random.Below(16); left > 0; --left) AppendSegment(fragments, &random, &once);
  if (index % 500 != 0) return once;
  std::string text;
  for (int i = 0; i < 40; ++i) text += once;
  return text;
}

std::string SweepGoldenText(uint32_t index) {
  constexpr const char* kAfter[] = {"", " ", "a", "1"};
  std::string text;
  for (uint32_t c = 64 * index; c < 64 * index + 64; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    AppendUtf8(c, &text);
    text += kAfter[c % 4];
  }
  return text;
}

}  // namespace tessera

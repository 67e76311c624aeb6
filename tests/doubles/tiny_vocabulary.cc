// The tiny models' tokens: specials, single bytes, and enough merges for words to have more than one byte.
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

std::string Utf8(uint32_t code_point) {  // below 0x800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's alphabet: bytes that print stand for themselves, the others follow from U+0100 on, in byte order.
bool Prints(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

constexpr const char* kMerges[] = {"t h",   "Ġ t",  "Ġt h", "Ġth e", "i n",    "Ġ a", "h e", "r e",  "o n",
                                   "e r",   "Ġ s",  "a t",  "o u",   "e n",    "i s", "Ġ w", "o r",  "Ġa n",
                                   "Ġan d", "l l",  "Ġ h",  "he ll", "hell o", "Ġ b", "Ġ c", "in g", "Ġ m",
                                   "o f",   "Ġ of", "e d",  "a n",   "Ġ Ġ",    "Ġ o", "e s", "Ġ p",  "i t",
                                   "Ġ f",   "1 2",  "a r",  "w or",  "Ã ¤"};
static_assert(3 + 256 + sizeof(kMerges) / sizeof(kMerges[0]) == kTinyVocabulary);

}  // namespace

std::vector<std::string> TinyMerges() { return {std::begin(kMerges), std::end(kMerges)}; }

std::vector<std::string> TinyTokens() {
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  uint32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(Utf8(Prints(byte) ? static_cast<uint32_t>(byte) : next++));
  }
  for (std::string merge : TinyMerges()) tokens.push_back(merge.erase(merge.find(' '), 1));
  return tokens;
}

}  // namespace tessera

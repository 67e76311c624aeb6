// The texts that the tokenizer goldens were made from, generated as tests/goldens/tokenizer/make.py does.
#ifndef TESSERA_TESTS_CORE_TEXT_GOLDEN_TEXTS_H_
#define TESSERA_TESTS_CORE_TEXT_GOLDEN_TEXTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tessera {

// Words, code, emoji, special tokens and random code points, chosen by splitmix64 from the seed `index`.
std::string RandomGoldenText(uint64_t index, const std::vector<std::string>& fragments);

// The code points [64 * index, 64 * index + 64), with something after each that may join it.
std::string SweepGoldenText(uint32_t index);

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_TEXT_GOLDEN_TEXTS_H_

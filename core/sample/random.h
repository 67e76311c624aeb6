// The random numbers of sampling: a counter-based generator, so that a draw depends on the request's seed and
// the token's position alone, never on batch mates, chunking or how often a step was repeated.
//
// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011),
// section 4.2, with that paper's multipliers and key increments. Key: the seed, low word first. Counter: the
// position in words 0 and 1, zero in words 2 and 3. The draw's 53 bits are output word 0 and the top 21 bits
// of output word 1.
#ifndef TESSERA_CORE_SAMPLE_RANDOM_H_
#define TESSERA_CORE_SAMPLE_RANDOM_H_

#include <array>
#include <cstdint>

namespace tessera {

using PhiloxWords = std::array<uint32_t, 4>;

inline PhiloxWords Philox4x32(PhiloxWords counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Uniform in [0, 1), a multiple of 2^-53.
inline double UniformDraw(uint64_t seed, uint64_t position) {
  const PhiloxWords words =
      Philox4x32({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t bits = (uint64_t{words[0]} << 21) | (words[1] >> 11);
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace tessera

#endif  // TESSERA_CORE_SAMPLE_RANDOM_H_

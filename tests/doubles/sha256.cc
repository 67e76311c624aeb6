#include "tests/doubles/sha256.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace tessera {
namespace {

// The first 32 bits of the fractional parts of roots of the first primes, as the standard defines its
// constants.
template <size_t kCount>
std::array<uint32_t, kCount> RootFractions(long double (*root)(long double)) {
  std::array<uint32_t, kCount> fractions{};
  size_t count = 0;
  for (int candidate = 2; count < kCount; ++candidate) {
    bool prime = true;
    for (int divisor = 2; divisor * divisor <= candidate; ++divisor)
      prime = prime && candidate % divisor != 0;
    if (!prime) continue;
    const long double value = root(candidate);
    fractions[count++] = static_cast<uint32_t>((value - std::floor(value)) * 0x1p32L);
  }
  return fractions;
}

void AddBlock(const unsigned char* block, const std::array<uint32_t, 64>& k, std::array<uint32_t, 8>* state) {
  uint32_t w[64];
  for (int i = 0; i < 16; ++i) {
    w[i] = static_cast<uint32_t>(block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 |
                                 block[4 * i + 3]);
  }
  for (int i = 16; i < 64; ++i) {
    const uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[i - 7] +
           (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
  }
  std::array<uint32_t, 8> s = *state;
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t sum1 = std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25);
    const uint32_t first = s[7] + sum1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
    const uint32_t sum0 = std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22);
    const uint32_t second = sum0 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    s = {first + second, s[0], s[1], s[2], s[3] + first, s[4], s[5], s[6]};
  }
  for (size_t i = 0; i < 8; ++i) (*state)[i] += s[i];
}

}  // namespace

std::string Sha256Hex(const std::string& data) {
  const auto k = RootFractions<64>([](long double x) { return std::cbrt(x); });
  std::array<uint32_t, 8> state = RootFractions<8>([](long double x) { return std::sqrt(x); });
  std::string padded = data + '\x80';
  while (padded.size() % 64 != 56) padded += '\0';
  for (int i = 7; i >= 0; --i) padded += static_cast<char>(uint64_t{data.size()} * 8 >> (8 * i) & 255);
  for (size_t at = 0; at < padded.size(); at += 64) {
    AddBlock(reinterpret_cast<const unsigned char*>(padded.data()) + at, k, &state);
  }
  std::string hex;
  for (const uint32_t word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  }
  return hex;
}

}  // namespace tessera

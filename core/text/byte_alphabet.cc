// GPT-2's alphabet of bytes, both ways.
#include "core/text/byte_alphabet.h"

#include <array>

#include "core/text/utf8.h"
#include "core/text/utf8_sequence.h"

namespace tessera {
namespace {

constexpr uint32_t kFirstMoved = 0x100;
constexpr size_t kCharacters = 0x100 + 68;  // 68 bytes are not printable

constexpr bool StandsForItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr std::array<uint16_t, 256> MakeCharacters() {
  std::array<uint16_t, 256> characters{};
  uint32_t moved = kFirstMoved;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    characters[byte] = static_cast<uint16_t>(StandsForItself(byte) ? byte : moved++);
  }
  return characters;
}

constexpr std::array<uint16_t, 256> kCharacterOf = MakeCharacters();

constexpr std::array<int16_t, kCharacters> MakeBytes() {
  std::array<int16_t, kCharacters> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  for (uint32_t byte = 0; byte < 256; ++byte) bytes[kCharacterOf[byte]] = static_cast<int16_t>(byte);
  return bytes;
}

constexpr std::array<int16_t, kCharacters> kByteOf = MakeBytes();

}  // namespace

uint32_t AlphabetCharacter(unsigned char byte) { return kCharacterOf[byte]; }

bool DecodeAlphabet(absl::string_view text, std::string* bytes) {
  if (FirstInvalidUtf8(text) != text.size()) return false;
  const size_t before = bytes->size();
  for (size_t i = 0; i < text.size();) {
    const CodePoint character = DecodeUtf8(text.data() + i);
    if (character.value >= kCharacters || kByteOf[character.value] < 0) {
      bytes->resize(before);
      return false;
    }
    bytes->push_back(static_cast<char>(kByteOf[character.value]));
    i += character.bytes;
  }
  return true;
}

}  // namespace tessera

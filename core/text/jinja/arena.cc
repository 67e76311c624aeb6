#include "core/text/jinja/arena.h"

#include <algorithm>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define TSR_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TSR_POISONS 1
#endif
#endif
#ifdef TSR_POISONS
#include <sanitizer/asan_interface.h>
#endif

namespace tessera::jinja {
namespace {

constexpr size_t kFirstBlockBytes = 4096;
constexpr size_t kLargestBlockBytes = 256 << 10;  // but for single pieces that are larger
#ifdef TSR_POISONS
constexpr size_t kGapBytes = 8;  // between pieces, so that the sanitizer sees who leaves his own
#else
constexpr size_t kGapBytes = 0;
#endif

void Poison([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) {
#ifdef TSR_POISONS
  ASAN_POISON_MEMORY_REGION(begin, bytes);
#endif
}
void Unpoison([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) {
#ifdef TSR_POISONS
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
#endif
}

constexpr size_t Rounded(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

}  // namespace

Arena::~Arena() {
  while (blocks_ != nullptr) {
    Block* block = blocks_;
    blocks_ = block->next;
    Unpoison(block, block->bytes);
    ::operator delete(block);
  }
}

bool Arena::AddBlock(size_t least_bytes) {
  const size_t room = most_bytes_ - taken_bytes_;
  if (least_bytes > room || room - least_bytes < sizeof(Block)) return false;
  const size_t usual = std::clamp(taken_bytes_, kFirstBlockBytes, kLargestBlockBytes);
  const size_t bytes = std::min(room, std::max(least_bytes + sizeof(Block), usual));
  auto* block = static_cast<Block*>(::operator new(bytes));
  block->next = blocks_;
  block->bytes = bytes;
  blocks_ = block;
  taken_bytes_ += bytes;
  next_ = reinterpret_cast<char*>(block + 1);
  end_ = reinterpret_cast<char*>(block) + bytes;
  Poison(next_, static_cast<size_t>(end_ - next_));
  return true;
}

void* Arena::Allocate(size_t bytes) {
  if (bytes > most_bytes_) return nullptr;
  const size_t needed = Rounded(std::max<size_t>(bytes, 1)) + kGapBytes;
  if (static_cast<size_t>(end_ - next_) < needed && !AddBlock(needed)) return nullptr;
  char* piece = next_;
  next_ += needed;
  Unpoison(piece, bytes);
  return piece;
}

bool Arena::Extend(const void* piece, size_t old_bytes, size_t new_bytes) {
  const char* begin = static_cast<const char*>(piece);
  if (begin == nullptr || begin + Rounded(std::max<size_t>(old_bytes, 1)) + kGapBytes != next_) return false;
  if (new_bytes > most_bytes_) return false;
  const size_t needed = Rounded(new_bytes) + kGapBytes;
  if (static_cast<size_t>(end_ - begin) < needed) return false;
  next_ += needed - static_cast<size_t>(next_ - begin);
  Unpoison(begin, new_bytes);
  return true;
}

}  // namespace tessera::jinja

#include "core/cache/cached_rows.h"

#include <algorithm>
#include <cstring>

namespace tessera {
namespace {

// move(bytes in a block, the same bytes among the rows, how many), in the order of the rows.
template <typename Move>
void ForEachRun(const CacheView& view, absl::Span<const int32_t> blocks, int64_t first, int64_t end,
                Move&& move) noexcept {
  const size_t row_bytes = view.row_bytes();
  size_t offset = 0;
  for (int32_t plane = 0; plane < 2 * view.layer_count; ++plane) {
    for (int32_t head = 0; head < view.kv_heads; ++head) {
      for (int64_t token = first; token < end;) {
        const int64_t index = token / view.block_tokens;
        const int64_t slot = token % view.block_tokens;
        const int64_t count = std::min<int64_t>(view.block_tokens - slot, end - token);
        uint8_t* const block = view.keys(blocks[static_cast<size_t>(index)], 0) +
                               static_cast<size_t>(plane) * view.plane_bytes();
        const auto row = static_cast<size_t>(int64_t{head} * view.block_tokens + slot);
        const size_t bytes = static_cast<size_t>(count) * row_bytes;
        move(block + row * row_bytes, offset, bytes);
        offset += bytes;
        token += count;
      }
    }
  }
}

}  // namespace

size_t RowsBytes(const CacheView& view, int64_t tokens) {
  return 2 * static_cast<size_t>(view.layer_count) * static_cast<size_t>(view.kv_heads) *
         static_cast<size_t>(tokens) * view.row_bytes();
}

void GatherRows(const CacheView& view, absl::Span<const int32_t> blocks, int64_t first, int64_t end,
                uint8_t* rows) noexcept {
  ForEachRun(view, blocks, first, end, [&](const uint8_t* in_block, size_t offset, size_t bytes) {
    std::memcpy(rows + offset, in_block, bytes);
  });
}

void ScatterRows(const CacheView& view, absl::Span<const int32_t> blocks, int64_t first, int64_t end,
                 const uint8_t* rows) noexcept {
  ForEachRun(view, blocks, first, end, [&](uint8_t* in_block, size_t offset, size_t bytes) {
    std::memcpy(in_block, rows + offset, bytes);
  });
}

}  // namespace tessera

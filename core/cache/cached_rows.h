// A sequence's keys and values out of their blocks and back, for saved sessions: rows in the order of their
// tokens, whatever blocks they lie in. Knows no sequence and no block table.
#ifndef TESSERA_CORE_CACHE_CACHED_ROWS_H_
#define TESSERA_CORE_CACHE_CACHED_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "core/cache/cache_view.h"

namespace tessera {

// Bytes of `tokens` tokens in one group.
size_t RowsBytes(const CacheView& view, int64_t tokens);

// Tokens [first, end) of the sequence that lies in `blocks` [block index]:
// rows [layer of the group][keys, values][kv_heads][end - first][row bytes].
void GatherRows(const CacheView& view, absl::Span<const int32_t> blocks, int64_t first, int64_t end,
                uint8_t* rows) noexcept;
void ScatterRows(const CacheView& view, absl::Span<const int32_t> blocks, int64_t first, int64_t end,
                 const uint8_t* rows) noexcept;

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_CACHED_ROWS_H_

// Attention of one sequence's rows over its paged cache: scores, softmax, context. Knows no model and no
// threads.
//
// Bit-invariance: positions are taken in chunks of kAttentionChunk, counted from position 0. A query's chunk
// gives a partial result (largest score, sum of exponentials, weighted sum of values) that depends on the
// query and on the chunk's keys and values only; partial results are merged in the order of the chunks. So a
// query's context has the same bits alone or among others of a prompt, however the prompt and the cache's
// blocks were cut, and whether one thread walked all chunks (AttendTile), walked them in parts with other
// work between them (AttendPart), or several took some each (AttendChunks, then MergeChunks). Positions that
// causality or the window hides are never read.
#ifndef TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_H_
#define TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_H_

#include <cstddef>
#include <cstdint>

#include "core/cache/cache_view.h"

namespace tessera::cpu {

inline constexpr int32_t kAttentionChunk = 64;  // positions

// Some consecutive rows of one sequence and the query heads that share one head of keys and values.
struct AttentionTile {
  const CacheView* cache = nullptr;
  int32_t layer_in_group = 0;
  const int32_t* blocks = nullptr;  // the sequence's block ids
  int32_t kv_head = 0;
  int32_t group = 1;          // query heads of this kv head
  int32_t window_tokens = 0;  // a query sees this many positions, its own included; 0: all
  float scale = 1;
  int32_t row_count = 1;
  int32_t first_position = 0;    // of the first row
  const float* query = nullptr;  // [row_count, group, head_size], rows query_stride apart
  int64_t query_stride = 0;
  float* context = nullptr;  // the same shape, rows context_stride apart: written
  int64_t context_stride = 0;
  float* carry = nullptr;  // [row_count, group, 2], rows carry_stride apart: for AttendPart only
  int64_t carry_stride = 0;
};

// Rows of a tile that make the best use of a core's caches; the tile has this many rows times `group`
// queries.
int32_t AttentionTileRows(int32_t group);

// Scratch of one thread, for tiles of up to `queries` queries; aligned to 64 bytes.
size_t AttentionScratchBytes(int32_t queries, int32_t head_size);

// Chunks [first, end) that the tile's rows see.
struct ChunkRange {
  int32_t first = 0;
  int32_t end = 0;
};
ChunkRange AttentionChunks(const AttentionTile& tile);

void AttendTile(const AttentionTile& tile, void* scratch);

// Chunks [begin, end) of AttentionChunks(tile). Parts follow each other from its first chunk to its last, on
// any threads; what one hands to the next lies in context and carry, and the last one's context is the
// result.
void AttendPart(const AttentionTile& tile, int32_t begin, int32_t end, void* scratch);

// Floats of one query's partial result of one chunk.
int64_t AttentionPartialFloats(int32_t head_size);

// For tiles of one row: the partial results of chunks [begin, end) within AttentionChunks(tile). partials:
// the tile's, [chunks of the tile, group, AttentionPartialFloats], aligned to 64 bytes.
void AttendChunks(const AttentionTile& tile, int32_t begin, int32_t end, void* scratch, float* partials);

// Writes the tile's context from all its partial results.
void MergeChunks(const AttentionTile& tile, const float* partials, void* scratch);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_ATTENTION_ATTENTION_H_

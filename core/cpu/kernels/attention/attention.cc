#include "core/cpu/kernels/attention/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/base/checked.h"
#include "core/cpu/kernels/linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/attention/attention.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/cpu/kernels/attention/attention-inl.h"
#include "core/cpu/kernels/cache_rows/cache_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kPadding = 16;  // floats: a whole number of vectors on every target

int32_t PaddedSize(int32_t head_size) {
  return static_cast<int32_t>(AlignUp(static_cast<uint64_t>(head_size), kPadding));
}

// How far the vector loops walk: the head, up to a whole vector. Not the padded size: rows that are read in
// the cache itself end there.
int32_t WalkedSize(int32_t head_size) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(Floats()));
  return (head_size + lanes - 1) / lanes * lanes;
}

// The scratch of one tile, cut into its arrays. Each begins at a multiple of 64 bytes.
struct Workspace {
  float* query;     // [queries, padded]: scaled, padded with zeros
  float* scores;    // [queries, kAttentionChunk]
  float* totals;    // [queries, padded + kPadding]
  float* partials;  // [queries, padded + kPadding]
  float* rows;      // [kAttentionChunk, padded]: copies of keys, and after their use of values
  Span* spans;      // [queries]
};

Workspace CutScratch(void* scratch, int32_t queries, int32_t padded) {
  Workspace work;
  auto* next = static_cast<float*>(scratch);
  const auto take = [&next](int64_t count) {
    float* const taken = next;
    next += count;
    return taken;
  };
  work.query = take(static_cast<int64_t>(queries) * padded);
  work.scores = take(static_cast<int64_t>(queries) * kAttentionChunk);
  work.totals = take(static_cast<int64_t>(queries) * (padded + kPadding));
  work.partials = take(static_cast<int64_t>(queries) * (padded + kPadding));
  work.rows = take(static_cast<int64_t>(kAttentionChunk) * padded);
  work.spans = reinterpret_cast<Span*>(next);
  return work;
}

Partial PartialAt(float* partials, int64_t index, int32_t padded) {
  float* const context = partials + index * (padded + kPadding);
  return {context, context + padded, context + padded + 1};
}

void PrepareQueries(const AttentionTile& tile, int32_t padded, const Workspace& work) {
  const int32_t size = tile.cache->head_size;
  for (int32_t row = 0; row < tile.row_count; ++row) {
    for (int32_t head = 0; head < tile.group; ++head) {
      const float* const source = tile.query + row * tile.query_stride + static_cast<int64_t>(head) * size;
      float* const query = work.query + (static_cast<int64_t>(row) * tile.group + head) * padded;
      for (int32_t i = 0; i < size; ++i) query[i] = source[i] * tile.scale;
      std::fill(query + size, query + padded, 0.0f);
    }
  }
}

// Pointers to the chunk's rows [begin, end) of keys or values: into the cache itself where its rows are whole
// vectors of float, else to copies in `copies`.
void FindRows(const AttentionTile& tile, bool values, int32_t start, int32_t begin, int32_t end,
              int32_t padded, float* copies, const float** rows) {
  const CacheView& cache = *tile.cache;
  const int32_t size = cache.head_size;
  const auto row_bytes = static_cast<int64_t>(cache.row_bytes());
  const bool direct = cache.type == CacheType::kF32 && size % static_cast<int32_t>(hn::Lanes(Floats())) == 0;
  int32_t j = begin;
  while (j < end) {
    const int32_t position = start + j;
    const int32_t in_block = position % cache.block_tokens;
    const int32_t block = tile.blocks[position / cache.block_tokens];
    const int32_t run_end = std::min(end, j + cache.block_tokens - in_block);
    const uint8_t* const plane =
        values ? cache.values(block, tile.layer_in_group) : cache.keys(block, tile.layer_in_group);
    const uint8_t* row =
        plane + (static_cast<int64_t>(tile.kv_head) * cache.block_tokens + in_block) * row_bytes;
    for (; j < run_end; ++j, row += row_bytes) {
      if (direct) {
        rows[j] = reinterpret_cast<const float*>(row);
        continue;
      }
      float* const copy = copies + static_cast<int64_t>(j) * padded;
      LoadRow(cache.type, row, size, copy);
      std::fill(copy + size, copy + padded, 0.0f);
      rows[j] = copy;
    }
  }
}

// Asks for the rows that the tile will read of the chunk at `start`. Blocks lie anywhere, so the processor's
// own prefetching ends with each of them.
void PrefetchRows(const AttentionTile& tile, bool values, int32_t start) {
  const CacheView& cache = *tile.cache;
  const auto row_bytes = static_cast<int64_t>(cache.row_bytes());
  const int32_t end = std::min(start + kAttentionChunk, tile.first_position + tile.row_count);
  int32_t position = start;
  if (tile.window_tokens > 0) position = std::max(position, tile.first_position - tile.window_tokens + 1);
  while (position < end) {
    const int32_t in_block = position % cache.block_tokens;
    const int32_t block = tile.blocks[position / cache.block_tokens];
    const int32_t count = std::min(end - position, cache.block_tokens - in_block);
    const uint8_t* const plane =
        values ? cache.values(block, tile.layer_in_group) : cache.keys(block, tile.layer_in_group);
    const uint8_t* const rows =
        plane + (static_cast<int64_t>(tile.kv_head) * cache.block_tokens + in_block) * row_bytes;
    for (int64_t byte = 0; byte < count * row_bytes; byte += 64) {
      __builtin_prefetch(rows + byte, 0, 2);  // into the second level: the first is full of this chunk
    }
    position += count;
  }
}

// What each query of the tile sees of the chunk at `start`; the hull of all is returned.
Span FindSpans(const AttentionTile& tile, int32_t start, Span* spans) {
  Span hull{kAttentionChunk, 0};
  for (int32_t row = 0; row < tile.row_count; ++row) {
    const int32_t position = tile.first_position + row;
    Span span{0, std::min(kAttentionChunk, position + 1 - start)};
    if (tile.window_tokens > 0) span.begin = std::max(0, position - tile.window_tokens + 1 - start);
    if (span.begin < span.end) {
      hull.begin = std::min(hull.begin, span.begin);
      hull.end = std::max(hull.end, span.end);
    } else {
      span = {0, 0};
    }
    for (int32_t head = 0; head < tile.group; ++head) spans[row * tile.group + head] = span;
  }
  return hull;
}

// How many of the `left` queries to take together: never one alone after many.
int32_t QueriesTogether(int32_t left) { return left == 4 ? 2 : std::min(left, kMostQueries); }

// Whether the `count` spans share a position.
bool Overlap(const Span* spans, int32_t count) {
  Span common = spans[0];
  for (int32_t q = 1; q < count; ++q) {
    common = {std::max(common.begin, spans[q].begin), std::min(common.end, spans[q].end)};
  }
  return common.begin < common.end;
}

// Scores of `count` queries from q on with all keys that any of them sees.
template <int kQueries>
void ScoreQueries(const Workspace& work, int32_t q, int32_t padded, int32_t width, const float* const* keys) {
  Span hull{kAttentionChunk, 0};
  for (int32_t i = 0; i < kQueries; ++i) {
    const Span span = work.spans[q + i];
    if (span.begin >= span.end) continue;
    hull = {std::min(hull.begin, span.begin), std::max(hull.end, span.end)};
  }
  const float* const query = work.query + static_cast<int64_t>(q) * padded;
  float* const scores = work.scores + static_cast<int64_t>(q) * kAttentionChunk;
  for (int32_t j = hull.begin / 4 * 4; j < hull.end; j += 4) {
    ScoreFourKeys<kQueries>(query, padded, keys + j, width, scores + j);
  }
}

template <int kQueries>
void WeighQueries(const Workspace& work, int32_t q, const float* const* values, int32_t width,
                  const Partial* out) {
  const float* const weights = work.scores + static_cast<int64_t>(q) * kAttentionChunk;
  if (Overlap(work.spans + q, kQueries)) {
    WeighValues<kQueries>(weights, work.spans + q, values, width, out);
    return;
  }
  for (int32_t i = 0; i < kQueries; ++i) {
    WeighValues<1>(weights + i * kAttentionChunk, work.spans + q + i, values, width, out + i);
  }
}

// The partial results of all queries of the tile for one chunk; a query that sees nothing of it has an empty
// span and gets none.
void AttendChunk(const AttentionTile& tile, int32_t chunk, int32_t padded, const Workspace& work,
                 float* partials) {
  const int32_t queries = tile.row_count * tile.group;
  const int32_t start = chunk * kAttentionChunk;
  const Span hull = FindSpans(tile, start, work.spans);
  if (hull.begin >= hull.end) return;

  const int32_t width = WalkedSize(tile.cache->head_size);
  const float* rows[kAttentionChunk];
  FindRows(tile, false, start, hull.begin, hull.end, padded, work.rows, rows);
  // Keys are scored by fours; outside the hull any readable row serves, its scores are not used.
  for (int32_t j = hull.begin / 4 * 4; j < hull.begin; ++j) rows[j] = rows[hull.begin];
  for (int32_t j = hull.end; j % 4 != 0; ++j) rows[j] = rows[hull.begin];
  PrefetchRows(tile, false, start + kAttentionChunk);
  for (int32_t q = 0, count = 0; q < queries; q += count) {
    count = QueriesTogether(queries - q);
    if (count == 3) ScoreQueries<3>(work, q, padded, width, rows);
    if (count == 2) ScoreQueries<2>(work, q, padded, width, rows);
    if (count == 1) ScoreQueries<1>(work, q, padded, width, rows);
  }

  FindRows(tile, true, start, hull.begin, hull.end, padded, work.rows, rows);
  PrefetchRows(tile, true, start + kAttentionChunk);
  for (int32_t q = 0, count = 0; q < queries; q += count) {
    count = QueriesTogether(queries - q);
    Partial out[kMostQueries];
    for (int32_t i = 0; i < count; ++i) {
      out[i] = PartialAt(partials, q + i, padded);
      const Span span = work.spans[q + i];
      if (span.begin >= span.end) continue;
      ChunkSoftmax(work.scores + static_cast<int64_t>(q + i) * kAttentionChunk, span, out[i].largest,
                   out[i].sum);
    }
    if (count == 3) WeighQueries<3>(work, q, rows, width, out);
    if (count == 2) WeighQueries<2>(work, q, rows, width, out);
    if (count == 1) WeighQueries<1>(work, q, rows, width, out);
  }
}

void ClearTotal(const Partial& total, int32_t padded) {
  std::fill(total.context, total.context + padded, 0.0f);
  *total.largest = -std::numeric_limits<float>::infinity();
  *total.sum = 0;
}

void WriteContext(const Partial& total, int32_t size, float* context) {
  const float scale = 1.0f / *total.sum;
  for (int32_t i = 0; i < size; ++i) context[i] = total.context[i] * scale;
}

// Where query q of the tile has its context, and what it carries from one part to the next.
float* ContextOf(const AttentionTile& tile, int32_t q) {
  return tile.context + q / tile.group * tile.context_stride +
         static_cast<int64_t>(q % tile.group) * tile.cache->head_size;
}
float* CarryOf(const AttentionTile& tile, int32_t q) {
  return tile.carry + q / tile.group * tile.carry_stride + static_cast<int64_t>(q % tile.group) * 2;
}

void SaveTotal(const AttentionTile& tile, int32_t q, const Partial& total) {
  std::copy_n(total.context, tile.cache->head_size, ContextOf(tile, q));
  CarryOf(tile, q)[0] = *total.largest;
  CarryOf(tile, q)[1] = *total.sum;
}

void LoadTotal(const AttentionTile& tile, int32_t q, int32_t padded, const Partial& total) {
  const int32_t size = tile.cache->head_size;
  std::copy_n(ContextOf(tile, q), size, total.context);
  std::fill(total.context + size, total.context + padded, 0.0f);
  *total.largest = CarryOf(tile, q)[0];
  *total.sum = CarryOf(tile, q)[1];
}

}  // namespace

// Chunks `part` of the tile's `all`.
void AttendTileImpl(const AttentionTile& tile, ChunkRange all, ChunkRange part, void* scratch) {
  const int32_t size = tile.cache->head_size;
  const int32_t padded = PaddedSize(size);
  const int32_t width = WalkedSize(size);
  const int32_t queries = tile.row_count * tile.group;
  const Workspace work = CutScratch(scratch, queries, padded);
  PrefetchRows(tile, false, part.first * kAttentionChunk);
  PrefetchRows(tile, true, part.first * kAttentionChunk);
  PrepareQueries(tile, padded, work);
  for (int32_t q = 0; q < queries; ++q) {
    const Partial total = PartialAt(work.totals, q, padded);
    if (part.first == all.first) {
      ClearTotal(total, padded);
    } else {
      LoadTotal(tile, q, padded, total);
    }
  }
  for (int32_t chunk = part.first; chunk < part.end; ++chunk) {
    AttendChunk(tile, chunk, padded, work, work.partials);
    for (int32_t q = 0; q < queries; ++q) {
      if (work.spans[q].begin >= work.spans[q].end) continue;
      MergePartial(PartialAt(work.partials, q, padded), width, PartialAt(work.totals, q, padded));
    }
  }
  for (int32_t q = 0; q < queries; ++q) {
    const Partial total = PartialAt(work.totals, q, padded);
    if (part.end == all.end) {
      WriteContext(total, size, ContextOf(tile, q));
    } else {
      SaveTotal(tile, q, total);
    }
  }
}

void AttendChunksImpl(const AttentionTile& tile, ChunkRange range, int32_t begin, int32_t end, void* scratch,
                      float* partials) {
  const int32_t padded = PaddedSize(tile.cache->head_size);
  const Workspace work = CutScratch(scratch, tile.group, padded);
  PrefetchRows(tile, false, begin * kAttentionChunk);
  PrefetchRows(tile, true, begin * kAttentionChunk);
  PrepareQueries(tile, padded, work);
  for (int32_t chunk = begin; chunk < end; ++chunk) {
    const int64_t first = static_cast<int64_t>(chunk - range.first) * tile.group;
    AttendChunk(tile, chunk, padded, work, partials + first * (padded + kPadding));
  }
}

void MergeChunksImpl(const AttentionTile& tile, ChunkRange range, const float* partials, void* scratch) {
  const int32_t size = tile.cache->head_size;
  const int32_t padded = PaddedSize(size);
  const Workspace work = CutScratch(scratch, tile.group, padded);
  for (int32_t q = 0; q < tile.group; ++q) {
    const Partial total = PartialAt(work.totals, q, padded);
    ClearTotal(total, padded);
    for (int32_t chunk = 0; chunk < range.end - range.first; ++chunk) {
      const int64_t index = static_cast<int64_t>(chunk) * tile.group + q;
      MergePartial(PartialAt(const_cast<float*>(partials), index, padded), WalkedSize(size), total);
    }
    WriteContext(total, size, tile.context + static_cast<int64_t>(q) * size);
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
namespace {

constexpr int32_t kPaddedFloats = 16;
constexpr int32_t kTileQueries = 48;

}  // namespace

HWY_EXPORT(AttendTileImpl);
HWY_EXPORT(AttendChunksImpl);
HWY_EXPORT(MergeChunksImpl);

int32_t AttentionTileRows(int32_t group) { return std::max(1, kTileQueries / group); }

int64_t AttentionPartialFloats(int32_t head_size) {
  return static_cast<int64_t>(AlignUp(static_cast<uint64_t>(head_size), kPaddedFloats)) + kPaddedFloats;
}

size_t AttentionScratchBytes(int32_t queries, int32_t head_size) {
  const auto partial = static_cast<size_t>(AttentionPartialFloats(head_size));
  const size_t per_query = 3 * partial + kAttentionChunk;  // query, total, partial result, scores
  const size_t floats = queries * per_query + static_cast<size_t>(kAttentionChunk) * partial;
  return AlignUp(floats * sizeof(float) + queries * 2 * sizeof(int32_t), 64);
}

ChunkRange AttentionChunks(const AttentionTile& tile) {
  ChunkRange range;
  if (tile.window_tokens > 0) {
    range.first = std::max(0, tile.first_position - tile.window_tokens + 1) / kAttentionChunk;
  }
  range.end = (tile.first_position + tile.row_count - 1) / kAttentionChunk + 1;
  return range;
}

void AttendTile(const AttentionTile& tile, void* scratch) {
  const ChunkRange all = AttentionChunks(tile);
  HWY_DYNAMIC_DISPATCH(AttendTileImpl)(tile, all, all, scratch);
}

void AttendPart(const AttentionTile& tile, int32_t begin, int32_t end, void* scratch) {
  HWY_DYNAMIC_DISPATCH(AttendTileImpl)(tile, AttentionChunks(tile), {begin, end}, scratch);
}

void AttendChunks(const AttentionTile& tile, int32_t begin, int32_t end, void* scratch, float* partials) {
  HWY_DYNAMIC_DISPATCH(AttendChunksImpl)(tile, AttentionChunks(tile), begin, end, scratch, partials);
}

void MergeChunks(const AttentionTile& tile, const float* partials, void* scratch) {
  HWY_DYNAMIC_DISPATCH(MergeChunksImpl)(tile, AttentionChunks(tile), partials, scratch);
}

}  // namespace tessera::cpu
#endif  // HWY_ONCE

#include "core/cpu/attention_run.h"

#include <algorithm>

#include "core/base/checked.h"

namespace tessera {
namespace {

// Tasks a thread: the context's length differs from row to row, so they are uneven.
constexpr size_t kTasksPerThread = 4;
// Floats of partial results above which merging them is spread over the pool too: some microseconds of work.
constexpr int64_t kParallelMergeFloats = 16 << 10;

int32_t GroupOf(const AttentionSpec& attention) { return attention.heads / attention.kv_heads; }

}  // namespace

AttentionRun::AttentionRun(const BackendLimits& limits, const CpuScratch* scratch, ThreadPool* pool)
    : scratch_(scratch), pool_(pool), wanted_tasks_(kTasksPerThread * static_cast<size_t>(pool->threads())) {
  // Unsplit: a piece has a row at least. Split: fewer rows than wanted tasks, and as many parts as reach that
  // number.
  pieces_.reserve(static_cast<size_t>(limits.max_rows) + 2 * wanted_tasks_);
  merges_.reserve(wanted_tasks_);
}

cpu::AttentionTile AttentionRun::TileOf(const Call& call, const Piece& piece, int32_t kv_head) const {
  const AttentionSpec& attention = call.layer->attention;
  const SequenceView& sequence = call.step->sequences[piece.sequence];
  const int64_t stride = static_cast<int64_t>(attention.heads) * attention.head_size;
  const int64_t row = sequence.first_row + piece.row;
  cpu::AttentionTile tile;
  tile.cache = &call.step->caches[call.layer->cache_group];
  tile.layer_in_group = call.layer_in_group;
  tile.blocks = sequence.blocks[call.layer->cache_group];
  tile.kv_head = kv_head;
  tile.group = GroupOf(attention);
  tile.window_tokens = attention.window_tokens;
  tile.scale = attention.scale;
  tile.row_count = piece.row_count;
  tile.first_position = sequence.first_position + piece.row;
  const int64_t first_head = static_cast<int64_t>(kv_head) * tile.group * attention.head_size;
  tile.query = scratch_->query + row * stride + first_head;
  tile.query_stride = stride;
  tile.context = scratch_->context + row * stride + first_head;
  tile.context_stride = stride;
  return tile;
}

int64_t AttentionRun::PartialsStride(const cpu::AttentionTile& tile) {
  const cpu::ChunkRange range = cpu::AttentionChunks(tile);
  return (range.end - range.first) * tile.group * cpu::AttentionPartialFloats(tile.cache->head_size);
}

// Later rows see more of the context: they come first, so that the last tasks to be claimed are short.
void AttentionRun::CutRows(const Call& call, int32_t tile_rows) {
  pieces_.clear();
  for (int32_t s = 0; s < call.step->sequence_count; ++s) {
    const int32_t rows = call.step->sequences[s].row_count;
    for (int32_t end = rows; end > 0; end -= std::min(end, tile_rows)) {
      Piece piece;
      piece.sequence = s;
      piece.row = std::max(0, end - tile_rows);
      piece.row_count = end - piece.row;
      pieces_.push_back(piece);
    }
  }
}

// Cuts every one of the single rows in pieces_ into up to `parts` runs of chunks. False, and nothing changed,
// where the partial results would not fit.
bool AttentionRun::CutChunks(const Call& call, int32_t parts) {
  const int32_t kv_heads = call.layer->attention.kv_heads;
  size_t bytes = 0;
  for (const Piece& piece : pieces_) {
    bytes += static_cast<size_t>(PartialsStride(TileOf(call, piece, 0)) * kv_heads) * sizeof(float);
  }
  if (bytes > scratch_->partials_bytes) return false;
  merges_.assign(pieces_.begin(), pieces_.end());
  pieces_.clear();
  int64_t partials = 0;
  for (Piece& row : merges_) {
    const cpu::AttentionTile tile = TileOf(call, row, 0);
    row.split = true;
    row.chunks = cpu::AttentionChunks(tile);
    row.partials = partials;
    partials += PartialsStride(tile) * kv_heads;
    const int32_t count = row.chunks.end - row.chunks.first;
    const auto step = static_cast<int32_t>(CeilDivide(static_cast<uint64_t>(count), parts));
    for (int32_t chunk = row.chunks.first; chunk < row.chunks.end; chunk += step) {
      Piece piece = row;
      piece.chunks = {chunk, std::min(row.chunks.end, chunk + step)};
      pieces_.push_back(piece);
    }
  }
  return true;
}

void AttentionRun::RunPiece(const Call& call, const Piece& piece, int32_t kv_head, int worker) const {
  const cpu::AttentionTile tile = TileOf(call, piece, kv_head);
  void* const scratch = scratch_->attention(worker);
  if (!piece.split) {
    cpu::AttendTile(tile, scratch);
    return;
  }
  float* const partials = scratch_->partials + piece.partials + kv_head * PartialsStride(tile);
  cpu::AttendChunks(tile, piece.chunks.first, piece.chunks.end, scratch, partials);
}

void AttentionRun::Run(const LayerSpec& layer, int32_t layer_in_group, const StepView& step) noexcept {
  const Call call{&layer, layer_in_group, &step};
  const auto kv_heads = static_cast<size_t>(layer.attention.kv_heads);
  merges_.clear();
  int32_t tile_rows = cpu::AttentionTileRows(GroupOf(layer.attention));
  CutRows(call, tile_rows);
  if (pool_->threads() > 1) {
    while (tile_rows > 1 && pieces_.size() * kv_heads < wanted_tasks_) {
      tile_rows = std::max(1, tile_rows / 2);
      CutRows(call, tile_rows);
    }
    const size_t tasks = pieces_.size() * kv_heads;
    if (tasks < wanted_tasks_) CutChunks(call, static_cast<int32_t>(CeilDivide(wanted_tasks_, tasks)));
  }

  auto attend = [&](int64_t index, int worker) {
    const auto at = static_cast<size_t>(index);
    RunPiece(call, pieces_[at / kv_heads], static_cast<int32_t>(at % kv_heads), worker);
  };
  pool_->ParallelFor(static_cast<int64_t>(pieces_.size() * kv_heads), attend);

  auto merge = [&](int64_t index, int worker) {
    const auto at = static_cast<size_t>(index);
    const Piece& row = merges_[at / kv_heads];
    const auto kv_head = static_cast<int32_t>(at % kv_heads);
    const cpu::AttentionTile tile = TileOf(call, row, kv_head);
    const float* const partials = scratch_->partials + row.partials + kv_head * PartialsStride(tile);
    cpu::MergeChunks(tile, partials, scratch_->attention(worker));
  };
  const auto merges = static_cast<int64_t>(merges_.size() * kv_heads);
  if (merges == 0) return;
  const int64_t floats =
      merges_.back().partials + PartialsStride(TileOf(call, merges_.back(), 0)) * layer.attention.kv_heads;
  if (floats > kParallelMergeFloats) {
    pool_->ParallelFor(merges, merge);
  } else {
    for (int64_t index = 0; index < merges; ++index) merge(index, 0);
  }
}

}  // namespace tessera

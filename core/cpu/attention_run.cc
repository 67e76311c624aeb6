#include "core/cpu/attention_run.h"

#include <algorithm>

#include "core/base/checked.h"

namespace tessera {
namespace {

// Tasks a thread: the context's length differs from row to row, so they are uneven.
constexpr size_t kTasksPerThread = 4;
// Floats of partial results above which merging them is spread over the pool too: some microseconds of work.
constexpr int64_t kParallelMergeFloats = 16 << 10;

// What a task may take, since a region can be left between tasks only: about a quarter of a millisecond of
// one core. Multiply-adds, and elements of keys and values.
constexpr int64_t kMostTaskProducts = 3 << 20;
constexpr int64_t kMostTaskElements = 512 << 10;

int32_t GroupOf(const AttentionSpec& attention) { return attention.heads / attention.kv_heads; }

// Chunks that one task may take of a tile.
int32_t MostChunks(const AttentionSpec& attention, int32_t tile_rows) {
  const int64_t elements = int64_t{2} * cpu::kAttentionChunk * attention.head_size;
  const int64_t products = elements * tile_rows * GroupOf(attention);
  return static_cast<int32_t>(
      std::max<int64_t>(1, std::min(kMostTaskProducts / products, kMostTaskElements / elements)));
}

}  // namespace

AttentionRun::AttentionRun(const BackendLimits& limits, const CpuScratch* scratch)
    : scratch_(scratch), wanted_tasks_(kTasksPerThread * static_cast<size_t>(limits.threads)) {
  pieces_.reserve(static_cast<size_t>(limits.max_rows));  // a piece has a row at least
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
  tile.carry_stride = int64_t{2} * attention.heads;
  tile.carry = scratch_->carry + row * tile.carry_stride + static_cast<int64_t>(kv_head) * tile.group * 2;
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

// Finds a place for the partial results of every one of the single rows in pieces_. False where they would
// not fit.
bool AttentionRun::LayPartials(const Call& call) {
  int64_t floats = 0;
  for (Piece& row : pieces_) {
    row.partials = floats;
    floats += PartialsStride(TileOf(call, row, 0)) * call.layer->attention.kv_heads;
  }
  return static_cast<size_t>(floats) * sizeof(float) <= scratch_->partials_bytes;
}

float* AttentionRun::PartialsOf(const cpu::AttentionTile& tile, const Piece& row) const {
  return scratch_->partials + row.partials + tile.kv_head * PartialsStride(tile);
}

// All that the pieces see.
cpu::ChunkRange AttentionRun::ChunksOf(const Call& call) const {
  cpu::ChunkRange all = cpu::AttentionChunks(TileOf(call, pieces_[0], 0));
  for (const Piece& piece : pieces_) {
    const cpu::ChunkRange range = cpu::AttentionChunks(TileOf(call, piece, 0));
    all = {std::min(all.first, range.first), std::max(all.end, range.end)};
  }
  return all;
}

// Piece by piece. Where the context is long, a part of it for all pieces before the next part: tasks stay
// short, and the part's keys and values stay in the caches while the pieces go by.
bool AttentionRun::RunWhole(const Call& call, int32_t tile_rows, RegionPhases& phases) const {
  const auto kv_heads = static_cast<size_t>(call.layer->attention.kv_heads);
  const int32_t most = MostChunks(call.layer->attention, tile_rows);
  const cpu::ChunkRange all = ChunksOf(call);
  for (int32_t first = all.first; first < all.end; first += most) {
    const auto attend = [&](int64_t index, int worker) {
      const auto at = static_cast<size_t>(index);
      const cpu::AttentionTile tile =
          TileOf(call, pieces_[at / kv_heads], static_cast<int32_t>(at % kv_heads));
      const cpu::ChunkRange range = cpu::AttentionChunks(tile);
      const int32_t begin = std::max(first, range.first);
      const int32_t end = std::min(first + most, range.end);
      if (begin < end) cpu::AttendPart(tile, begin, end, scratch_->attention(worker));
    };
    if (!phases.Run(static_cast<int64_t>(pieces_.size() * kv_heads), attend)) return false;
  }
  return true;
}

// Single rows, the chunks of each in up to `parts` runs; then their partial results are merged.
bool AttentionRun::RunSplit(const Call& call, int32_t parts, RegionPhases& phases) const {
  const AttentionSpec& attention = call.layer->attention;
  const auto kv_heads = static_cast<size_t>(attention.kv_heads);
  const auto attend = [&](int64_t index, int worker) {
    const size_t at = static_cast<size_t>(index) / kv_heads;
    const Piece& row = pieces_[at / static_cast<size_t>(parts)];
    const cpu::AttentionTile tile = TileOf(call, row, static_cast<int32_t>(index % attention.kv_heads));
    const cpu::ChunkRange range = cpu::AttentionChunks(tile);
    const auto step = static_cast<int32_t>(CeilDivide(static_cast<uint64_t>(range.end - range.first), parts));
    const int32_t begin = range.first + static_cast<int32_t>(at % static_cast<size_t>(parts)) * step;
    const int32_t end = std::min(range.end, begin + step);
    if (begin < end) cpu::AttendChunks(tile, begin, end, scratch_->attention(worker), PartialsOf(tile, row));
  };
  const auto merge = [&](int64_t index, int worker) {
    const Piece& row = pieces_[static_cast<size_t>(index) / kv_heads];
    const cpu::AttentionTile tile = TileOf(call, row, static_cast<int32_t>(index % attention.kv_heads));
    cpu::MergeChunks(tile, PartialsOf(tile, row), scratch_->attention(worker));
  };
  const auto rows = static_cast<int64_t>(pieces_.size() * kv_heads);
  if (!phases.Run(rows * parts, attend)) return false;
  const int64_t floats =
      pieces_.back().partials + PartialsStride(TileOf(call, pieces_.back(), 0)) * attention.kv_heads;
  return floats > kParallelMergeFloats ? phases.Run(rows, merge) : phases.RunHere(rows, merge);
}

bool AttentionRun::Run(const LayerSpec& layer, int32_t layer_in_group, const StepView& step,
                       RegionPhases& phases) noexcept {
  const Call call{&layer, layer_in_group, &step};
  const auto kv_heads = static_cast<size_t>(layer.attention.kv_heads);
  int32_t tile_rows = cpu::AttentionTileRows(GroupOf(layer.attention));
  CutRows(call, tile_rows);
  if (phases.threads() > 1) {
    while (tile_rows > 1 && pieces_.size() * kv_heads < wanted_tasks_) {
      tile_rows = std::max(1, tile_rows / 2);
      CutRows(call, tile_rows);
    }
    const size_t tasks = pieces_.size() * kv_heads;
    if (tasks < wanted_tasks_ && LayPartials(call)) {
      const cpu::ChunkRange all = ChunksOf(call);
      const auto wanted = static_cast<int32_t>(CeilDivide(wanted_tasks_, tasks));
      const auto least = static_cast<int32_t>(
          CeilDivide(static_cast<uint64_t>(all.end - all.first), MostChunks(layer.attention, 1)));
      return RunSplit(call, std::max(wanted, least), phases);
    }
  }
  return RunWhole(call, tile_rows, phases);
}

}  // namespace tessera

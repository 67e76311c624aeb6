#include "core/cpu/linear_run.h"

#include <algorithm>

#include "core/base/checked.h"
#include "core/cpu/kernels/silu_multiply/silu_multiply.h"

namespace tessera {
namespace {

// Tasks a thread: enough that a thread which lost its processor for a moment delays the others little.
constexpr int64_t kTasksPerThread = 6;
// Weight bytes below which a task is not worth claiming: about a microsecond of one core's share of the
// memory.
constexpr int64_t kLeastTaskBytes = 12 << 10;
// Rows of activations that stay in a core's second-level cache while the tiles of a task go by.
constexpr size_t kRowBlockBytes = size_t{192} << 10;
// A multiple of every row blocking of the kernels (up to 8).
constexpr int64_t kRowStep = 24;
// What a task may take, since a region can be left between tasks only: about a quarter of a millisecond of
// one core. Bytes of weights, and multiply-adds by ActivationMode.
constexpr int64_t kMostTaskBytes = 1 << 20;
constexpr int64_t kMostTaskProducts[2] = {12 << 20, 5 << 20};
// Weights that stay in a core's second-level cache while the tasks of the same tiles take one block of rows
// after the other.
constexpr int64_t kTaskTileBytes = 192 << 10;

// What one tile of weights costs.
struct TileCost {
  int64_t bytes = 0;
  int64_t products = 0;       // multiply-adds for each row of activations
  int64_t most_products = 0;  // of a task
};

struct Grid {
  int64_t tiles = 0;
  int64_t tiles_per_task = 1;
  int64_t rows = 0;
  int64_t rows_per_task = 1;
  int64_t tile_tasks = 1;
  int64_t row_tasks = 1;
  int64_t tasks() const { return tile_tasks * row_tasks; }
};

// The tiles of a task that is not too long, given that it takes up to kRowStep rows.
int64_t MostTiles(const TileCost& tile, int64_t rows) {
  int64_t most =
      std::min(kMostTaskBytes / tile.bytes, tile.most_products / (tile.products * std::min(rows, kRowStep)));
  if (rows > kRowStep) most = std::min(most, kTaskTileBytes / tile.bytes);
  return std::max<int64_t>(most, 1);
}

Grid CutGrid(int64_t tiles, const TileCost& tile, int64_t rows, int threads) {
  Grid grid;
  grid.tiles = tiles;
  grid.rows = rows;
  grid.rows_per_task = rows;
  grid.tiles_per_task = tiles;
  if (threads > 1) {
    const int64_t wanted = kTasksPerThread * threads;
    const int64_t least =
        CeilDivide(kLeastTaskBytes, static_cast<uint64_t>(tile.bytes * std::min<int64_t>(rows, 4)));
    grid.tiles_per_task = std::max<int64_t>(least, static_cast<int64_t>(CeilDivide(tiles, wanted)));
    const auto tile_tasks = static_cast<int64_t>(CeilDivide(tiles, grid.tiles_per_task));
    if (tile_tasks < wanted && rows >= 2 * kRowStep) {
      const auto per_task = static_cast<int64_t>(CeilDivide(rows * tile_tasks, wanted));
      grid.rows_per_task = static_cast<int64_t>(CeilDivide(per_task, kRowStep)) * kRowStep;
    }
  }
  grid.tiles_per_task = std::min(grid.tiles_per_task, MostTiles(tile, rows));
  const int64_t most_rows = tile.most_products / (tile.products * grid.tiles_per_task) / kRowStep * kRowStep;
  grid.rows_per_task = std::min(grid.rows_per_task, std::max(most_rows, kRowStep));
  grid.tile_tasks = static_cast<int64_t>(CeilDivide(tiles, grid.tiles_per_task));
  grid.row_tasks = static_cast<int64_t>(CeilDivide(rows, grid.rows_per_task));
  return grid;
}

// Calls visit(tile_begin, tile_end, row_begin, row_end). Tasks of the same tiles follow each other, so that
// threads which share a cache read a tile from memory once.
template <typename Visit>
bool RunGrid(RegionPhases& phases, const Grid& grid, const Visit& visit) noexcept {
  return phases.Run(grid.tasks(), [&](int64_t index, int) {
    const int64_t tile = index / grid.row_tasks * grid.tiles_per_task;
    const int64_t row = index % grid.row_tasks * grid.rows_per_task;
    visit(tile, std::min(grid.tiles, tile + grid.tiles_per_task), row,
          std::min(grid.rows, row + grid.rows_per_task));
  });
}

// Of the columns that count: where they are some of a wider matrix a tile's others are not read.
int64_t TileBytes(const WeightView& weight) {
  return static_cast<int64_t>(RowBytes(weight.type, static_cast<uint64_t>(weight.columns))) * cpu::kPackRows;
}

}  // namespace

void LinearRun::RunPart(const LinearPart& part, const PreparedRows& input, int64_t tile_begin,
                        int64_t tile_end, int64_t row_begin, int64_t row_end) const noexcept {
  const cpu::ActivationMode mode = ModeOf(part.weight);
  const size_t stride = input.stride_bytes[static_cast<int32_t>(mode)];
  const uint8_t* const data = input.data[static_cast<int32_t>(mode)];
  const int64_t block = std::max<int64_t>(kRowBlockBytes / stride / kRowStep * kRowStep, kRowStep);
  const WeightView& weight = part.weight;
  cpu::LinearLeaves shifted;
  const cpu::LinearLeaves* leaves = part.leaves;
  if (weight.stored_columns !=
      0) {  // leaves are counted from the view's first column, tiles from the whole's
    shifted.count = 1;
    shifted.leaves[0].columns = weight.columns;
    if (leaves != nullptr) shifted = *leaves;
    for (int32_t i = 0; i < shifted.count; ++i) shifted.leaves[i].first_column += weight.first_column;
    leaves = &shifted;
  }
  const int64_t columns = weight.stored_columns != 0 ? weight.stored_columns : weight.columns;
  for (int64_t row = row_begin; row < row_end; row += block) {
    cpu::Linear(mode, weight.type, weight.data, weight.rows, columns, tile_begin, tile_end,
                data + static_cast<size_t>(row) * stride, stride, std::min(block, row_end - row), part.bias,
                part.accumulate, part.out + row * weight.rows, weight.rows, leaves);
  }
}

bool LinearRun::Run(const LinearPart* parts, int32_t part_count, const PreparedRows& input,
                    RegionPhases& phases) const noexcept {
  int64_t tiles = 0;
  int64_t bytes = 0;
  TileCost tile;
  tile.products = input.columns * cpu::kPackRows;
  tile.most_products = kMostTaskProducts[0];
  for (int32_t i = 0; i < part_count; ++i) {
    const int64_t own = cpu::LinearTiles(parts[i].weight.rows);
    tiles += own;
    bytes += own * TileBytes(parts[i].weight);
    tile.most_products =
        std::min(tile.most_products, kMostTaskProducts[static_cast<int32_t>(ModeOf(parts[i].weight))]);
  }
  if (tiles == 0) return true;
  tile.bytes = bytes / tiles;
  const Grid grid = CutGrid(tiles, tile, input.rows, phases.threads());
  return RunGrid(phases, grid, [&](int64_t tile_begin, int64_t tile_end, int64_t row_begin, int64_t row_end) {
    int64_t first = 0;  // of the part's tiles, among all
    for (int32_t i = 0; i < part_count; ++i) {
      const int64_t own = cpu::LinearTiles(parts[i].weight.rows);
      const int64_t begin = std::max<int64_t>(tile_begin - first, 0);
      const int64_t end = std::min(tile_end - first, own);
      if (begin < end) RunPart(parts[i], input, begin, end, row_begin, row_end);
      first += own;
    }
  });
}

bool LinearRun::RunGateUp(const LinearPart& gate, const LinearPart& up, const PreparedRows& input,
                          RegionPhases& phases) const noexcept {
  const int64_t outputs = gate.weight.rows;
  if (outputs == 0) return true;
  TileCost tile;
  tile.bytes = TileBytes(gate.weight) + TileBytes(up.weight);
  tile.products = 2 * input.columns * cpu::kPackRows;
  tile.most_products = std::min(kMostTaskProducts[static_cast<int32_t>(ModeOf(gate.weight))],
                                kMostTaskProducts[static_cast<int32_t>(ModeOf(up.weight))]);
  const Grid grid = CutGrid(cpu::LinearTiles(outputs), tile, input.rows, phases.threads());
  return RunGrid(phases, grid, [&](int64_t tile_begin, int64_t tile_end, int64_t row_begin, int64_t row_end) {
    RunPart(gate, input, tile_begin, tile_end, row_begin, row_end);
    RunPart(up, input, tile_begin, tile_end, row_begin, row_end);
    const int64_t first = tile_begin * cpu::kPackRows;
    const int64_t count = std::min(outputs, tile_end * cpu::kPackRows) - first;
    for (int64_t row = row_begin; row < row_end; ++row) {
      float* const values = gate.out + row * outputs + first;
      cpu::SiluMultiply(values, up.out + row * outputs + first, count, values);
    }
  });
}

}  // namespace tessera

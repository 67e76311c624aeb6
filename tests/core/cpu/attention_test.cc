#include "core/cpu/kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/cpu/kernels/attention/attention_reference.h"
#include "tests/core/cpu/each_target.h"
#include "tests/core/cpu/paged_cache.h"
#include "tests/core/cpu/random_values.h"

namespace tessera {
namespace {

// Sums of up to some hundred float products of order 1, softmax weights that add to 1.
constexpr double kTolerance = 4e-6;

struct Shape {
  CacheType type = CacheType::kF32;
  int32_t group = 3;
  int32_t head_size = 64;
  int32_t block_tokens = 16;
  int32_t window_tokens = 0;
  int32_t first_position = 0;
  int32_t rows = 1;
};

constexpr int32_t kKvHeads = 2;
constexpr int32_t kLayers = 2;
constexpr int32_t kLayer = 1;

// Scratch at a multiple of 64 bytes, filled with NaN.
class Aligned {
 public:
  explicit Aligned(size_t bytes) : bytes_((bytes + 63) / 64 * 64), data_(std::aligned_alloc(64, bytes_)) {
    std::memset(data_, 0xFF, bytes_);
  }
  ~Aligned() { std::free(data_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  void* get() const { return data_; }

 private:
  size_t bytes_;
  void* data_;
};

// One sequence's rows with their cache, for kv head 1 of layer 1.
struct Problem {
  Shape shape;
  PagedCache cache;
  std::vector<float> query;  // [rows, group, head_size]

  explicit Problem(const Shape& s)
      : shape(s),
        cache(s.type, kKvHeads, s.head_size, s.block_tokens, kLayers, kLayer,
              s.window_tokens > 0 ? std::max(0, s.first_position - s.window_tokens + 1) : 0,
              s.first_position + s.rows),
        query(RandomFloats(static_cast<int64_t>(s.rows) * s.group * s.head_size, 23)) {}

  int64_t row_floats() const { return static_cast<int64_t>(shape.group) * shape.head_size; }

  cpu::AttentionTile Tile(int32_t first_row, int32_t rows, std::vector<float>* context) const {
    cpu::AttentionTile tile;
    tile.cache = &cache.view;
    tile.layer_in_group = kLayer;
    tile.blocks = cache.blocks.data();
    tile.kv_head = 1;
    tile.group = shape.group;
    tile.window_tokens = shape.window_tokens;
    tile.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_size));
    tile.row_count = rows;
    tile.first_position = shape.first_position + first_row;
    tile.query = query.data() + first_row * row_floats();
    tile.query_stride = row_floats();
    tile.context = context->data() + first_row * row_floats();
    tile.context_stride = row_floats();
    return tile;
  }

  // The rows in tiles of `tile_rows`.
  std::vector<float> Attend(int32_t tile_rows) const {
    std::vector<float> context = Poisoned(shape.rows * row_floats());
    for (int32_t row = 0; row < shape.rows; row += tile_rows) {
      const int32_t rows = std::min(tile_rows, shape.rows - row);
      const Aligned scratch(cpu::AttentionScratchBytes(rows * shape.group, shape.head_size));
      cpu::AttendTile(Tile(row, rows, &context), scratch.get());
    }
    return context;
  }

  // Each row's chunks by themselves, last first, then merged.
  std::vector<float> AttendSplit() const {
    std::vector<float> context = Poisoned(shape.rows * row_floats());
    for (int32_t row = 0; row < shape.rows; ++row) {
      const cpu::AttentionTile tile = Tile(row, 1, &context);
      const cpu::ChunkRange range = cpu::AttentionChunks(tile);
      const int64_t floats =
          (range.end - range.first) * shape.group * cpu::AttentionPartialFloats(shape.head_size);
      const Aligned partials(static_cast<size_t>(floats) * sizeof(float));
      const Aligned scratch(cpu::AttentionScratchBytes(shape.group, shape.head_size));
      for (int32_t chunk = range.end - 1; chunk >= range.first; --chunk) {
        cpu::AttendChunks(tile, chunk, chunk + 1, scratch.get(), static_cast<float*>(partials.get()));
      }
      cpu::MergeChunks(tile, static_cast<const float*>(partials.get()), scratch.get());
    }
    return context;
  }

  // The rows in tiles of `tile_rows`, `chunks` chunks of all tiles before the next ones; scratch is poisoned
  // between them.
  std::vector<float> AttendInParts(int32_t tile_rows, int32_t chunks) const {
    std::vector<float> context = Poisoned(shape.rows * row_floats());
    std::vector<float> carry = Poisoned(int64_t{2} * shape.rows * shape.group);
    const int32_t all = (shape.first_position + shape.rows - 1) / cpu::kAttentionChunk + 1;
    for (int32_t first = 0; first < all; first += chunks) {
      for (int32_t row = 0; row < shape.rows; row += tile_rows) {
        const int32_t rows = std::min(tile_rows, shape.rows - row);
        cpu::AttentionTile tile = Tile(row, rows, &context);
        tile.carry_stride = int64_t{2} * shape.group;
        tile.carry = carry.data() + row * tile.carry_stride;
        const cpu::ChunkRange range = cpu::AttentionChunks(tile);
        const int32_t begin = std::max(first, range.first);
        const int32_t end = std::min(first + chunks, range.end);
        const Aligned scratch(cpu::AttentionScratchBytes(rows * shape.group, shape.head_size));
        if (begin < end) cpu::AttendPart(tile, begin, end, scratch.get());
      }
    }
    return context;
  }

  std::vector<double> Reference() const {
    std::vector<double> context(query.size());
    std::vector<float> unused;
    for (int32_t row = 0; row < shape.rows; ++row) {
      for (int32_t head = 0; head < shape.group; ++head) {
        const size_t at = static_cast<size_t>(row * row_floats() + head * shape.head_size);
        cpu::AttentionReference(cache.view, kLayer, cache.blocks.data(), 1, shape.window_tokens,
                                1.0f / std::sqrt(static_cast<float>(shape.head_size)),
                                shape.first_position + row, &query[at], &context[at]);
      }
    }
    return context;
  }
};

void ExpectRight(const Shape& shape) {
  SCOPED_TRACE(testing::Message() << "type " << static_cast<int>(shape.type) << ", group " << shape.group
                                  << ", head size " << shape.head_size << ", blocks of " << shape.block_tokens
                                  << ", window " << shape.window_tokens << ", rows " << shape.rows << " from "
                                  << shape.first_position);
  const Problem problem(shape);
  const std::vector<double> expected = problem.Reference();
  ForEachTarget([&] {
    const std::vector<float> context = problem.Attend(cpu::AttentionTileRows(shape.group));
    double worst = 0;
    for (size_t i = 0; i < context.size(); ++i) {
      // Not a maximum of differences: a NaN must fail too.
      ASSERT_LE(std::abs(context[i] - expected[i]), kTolerance) << "element " << i;
      worst = std::max(worst, std::abs(context[i] - expected[i]));
    }
    testing::Test::RecordProperty("worst_error", std::to_string(worst));
    EXPECT_EQ(problem.Attend(1), context) << "alone";
    EXPECT_EQ(problem.Attend(5), context) << "in tiles of 5 rows";
    EXPECT_EQ(problem.AttendSplit(), context) << "split by chunks";
    EXPECT_EQ(problem.AttendInParts(5, 1), context) << "left after every chunk";
    EXPECT_EQ(problem.AttendInParts(17, 2), context) << "left after every second chunk";
  });
}

constexpr CacheType kTypes[] = {CacheType::kF32, CacheType::kF16, CacheType::kBF16, CacheType::kInt8};

TEST(Attention, MatchesDoublePrecisionForEveryHeadSizeAndCacheType) {
  for (const CacheType type : kTypes) {
    for (const int32_t head_size : {2, 6, 16, 24, 64, 80, 96, 128, 256, 288}) {
      ExpectRight({.type = type, .head_size = head_size, .first_position = 70, .rows = 3});
    }
  }
}

TEST(Attention, MatchesDoublePrecisionForPromptsOfEveryLength) {
  for (const CacheType type : kTypes) {
    for (const int32_t rows : {1, 2, 17, 63, 64, 65, 130}) {
      ExpectRight({.type = type, .rows = rows});
      ExpectRight({.type = type, .first_position = 61, .rows = rows});
    }
  }
}

TEST(Attention, MatchesDoublePrecisionForEveryGroup) {
  for (const int32_t group : {1, 2, 3, 4, 7, 8, 48, 71}) {
    ExpectRight({.group = group, .head_size = 32, .first_position = 129, .rows = 4});
  }
}

TEST(Attention, HonoursTheWindowAndNeverReadsBehindIt) {
  for (const CacheType type : kTypes) {
    for (const int32_t window : {1, 2, 5, 63, 64, 65, 100}) {
      ExpectRight(
          {.type = type, .head_size = 32, .window_tokens = window, .first_position = 150, .rows = 40});
    }
  }
}

// Random keys and values lie within 5: rounding moves an F16 by 2^-9 at the most, a BF16 by 2^-6, an element
// of an 8-bit group by 5 / 254. Of two hundred positions that largely cancels: a quarter of it is allowed.
TEST(Attention, ASmallerCacheTypeCostsNoMoreThanItsSteps) {
  Shape shape{.first_position = 200, .rows = 20};
  const std::vector<double> exact = Problem(shape).Reference();
  for (const auto& [type, bound] :
       {std::pair{CacheType::kF16, 0x1p-11}, {CacheType::kBF16, 0x1p-8}, {CacheType::kInt8, 5.0 / 1016}}) {
    shape.type = type;
    const std::vector<float> context = Problem(shape).Attend(8);
    double worst = 0;
    for (size_t i = 0; i < context.size(); ++i) {
      ASSERT_LE(std::abs(context[i] - exact[i]), bound) << CacheTypeName(static_cast<int32_t>(type));
      worst = std::max(worst, std::abs(context[i] - exact[i]));
    }
    EXPECT_GT(worst, 0.0);
    RecordProperty(CacheTypeName(static_cast<int32_t>(type)), std::to_string(worst));
  }
}

TEST(Attention, GivesTheSameBitsForEveryBlockSize) {
  for (const CacheType type : kTypes) {
    Shape shape{.type = type, .first_position = 200, .rows = 20};
    const std::vector<float> expected = Problem(shape).Attend(8);
    for (const int32_t block_tokens : {1, 3, 8, 32, 48, 64, 100, 256}) {
      shape.block_tokens = block_tokens;
      EXPECT_EQ(Problem(shape).Attend(8), expected) << "blocks of " << block_tokens;
    }
  }
}

TEST(Attention, AFaultyPositionSpoilsOnlyTheRowsThatSeeIt) {
  Problem problem({.first_position = 0, .rows = 20});
  const std::vector<float> sound = problem.Attend(20);
  CacheView& view = problem.cache.view;
  const int32_t bad = 10;
  uint8_t* const plane = view.keys(problem.cache.blocks[bad / view.block_tokens], kLayer);
  const int64_t row = view.block_tokens + bad % view.block_tokens;  // of kv head 1
  std::memset(plane + row * view.head_size * 4, 0xFF, static_cast<size_t>(view.head_size) * 4);

  ForEachTarget([&] {
    const std::vector<float> context = problem.Attend(20);
    for (size_t i = 0; i < context.size(); ++i) {
      const bool sees_it = static_cast<int64_t>(i) / problem.row_floats() >= bad;
      EXPECT_EQ(std::isnan(context[i]), sees_it) << i;
    }
  });
  const std::vector<float> again = problem.Attend(20);
  for (size_t i = 0; i < static_cast<size_t>(bad * problem.row_floats()); ++i) EXPECT_EQ(again[i], sound[i]);
}

}  // namespace
}  // namespace tessera

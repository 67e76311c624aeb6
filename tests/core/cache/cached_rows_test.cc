// Rows of a sequence out of scattered blocks and back into others: every byte at its place, none beside it.
#include "core/cache/cached_rows.h"

#include <gtest/gtest.h>

#include <vector>

namespace tessera {
namespace {

constexpr int32_t kBlockTokens = 4;
constexpr uint8_t kPoison = 0xEE;

struct Group {
  explicit Group(CacheType type) {
    view.type = type;
    view.block_tokens = kBlockTokens;
    view.kv_heads = 2;
    view.head_size = 8;
    view.layer_count = 3;
    memory.assign(6 * view.block_bytes(), kPoison);
    view.data = memory.data();
  }
  // The row of one token, head, layer and plane, found without the code under test.
  uint8_t* Row(const std::vector<int32_t>& blocks, int64_t token, int32_t layer, bool values, int32_t head) {
    const int32_t block = blocks[static_cast<size_t>(token / kBlockTokens)];
    uint8_t* const plane = values ? view.values(block, layer) : view.keys(block, layer);
    return plane + static_cast<size_t>(head * kBlockTokens + token % kBlockTokens) * view.row_bytes();
  }
  CacheView view;
  std::vector<uint8_t> memory;
};

uint8_t Content(int64_t token, int32_t layer, bool values, int32_t head, size_t byte) {
  const size_t place = (((static_cast<size_t>(token) * 3 + static_cast<size_t>(layer)) * 2 + values) * 2 +
                        static_cast<size_t>(head)) *
                           64 +
                       byte;
  return static_cast<uint8_t>((place * 2654435761u) >> 13);
}

template <typename Visit>
void ForEachRow(int64_t first, int64_t end, Visit&& visit) {
  for (int32_t layer = 0; layer < 3; ++layer) {
    for (const bool values : {false, true}) {
      for (int32_t head = 0; head < 2; ++head) {
        for (int64_t token = first; token < end; ++token) visit(token, layer, values, head);
      }
    }
  }
}

class CachedRows : public ::testing::TestWithParam<CacheType> {};

TEST_P(CachedRows, ComeInTheOrderOfTheirTokensAndGoIntoOtherBlocks) {
  Group from(GetParam()), to(GetParam());
  const size_t row_bytes = from.view.row_bytes();
  const std::vector<int32_t> scattered = {5, 0, 3}, others = {1, 4, 2};
  for (const auto& [first, end] : {std::pair<int64_t, int64_t>{0, 12}, {0, 9}, {4, 11}, {8, 9}, {4, 4}}) {
    ForEachRow(0, 12, [&](int64_t token, int32_t layer, bool values, int32_t head) {
      uint8_t* const row = from.Row(scattered, token, layer, values, head);
      for (size_t i = 0; i < row_bytes; ++i) row[i] = Content(token, layer, values, head, i);
    });
    std::vector<uint8_t> rows(RowsBytes(from.view, end - first), kPoison);
    GatherRows(from.view, scattered, first, end, rows.data());
    size_t at = 0;
    ForEachRow(first, end, [&](int64_t token, int32_t layer, bool values, int32_t head) {
      for (size_t i = 0; i < row_bytes; ++i) {
        ASSERT_EQ(rows[at++], Content(token, layer, values, head, i)) << token << " " << layer << " " << head;
      }
    });
    EXPECT_EQ(at, rows.size());

    std::fill(to.memory.begin(), to.memory.end(), kPoison);
    ScatterRows(to.view, others, first, end, rows.data());
    ForEachRow(first, end, [&](int64_t token, int32_t layer, bool values, int32_t head) {
      uint8_t* const row = to.Row(others, token, layer, values, head);
      for (size_t i = 0; i < row_bytes; ++i) {
        ASSERT_EQ(row[i], Content(token, layer, values, head, i)) << token;
        row[i] = kPoison;
      }
    });
    for (const uint8_t byte : to.memory) ASSERT_EQ(byte, kPoison) << "written beside the rows";
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CachedRows,
                         ::testing::Values(CacheType::kF32, CacheType::kF16, CacheType::kBF16,
                                           CacheType::kInt8));

}  // namespace
}  // namespace tessera

// The cache's memory: sizes, layout, what happens without it.
#include "core/cache/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/base/status.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

ModelSpec TwoGroups() {
  ModelSpec spec;
  CacheGroupSpec full, window;
  full.kv_heads = 2;
  full.head_size = 8;
  full.layers = {0, 2, 3};
  window.kv_heads = 1;
  window.head_size = 16;
  window.window_tokens = 64;
  window.layers = {1};
  spec.cache_groups = {full, window};
  return spec;
}

CacheOptions Options(int64_t tokens, CacheType type = CacheType::kF32) {
  CacheOptions options;
  options.type = type;
  options.block_tokens = 4;
  options.capacity_tokens = tokens;
  return options;
}

TEST(CacheView, ARowIsItsElementsAndTheScalesOfItsGroups) {
  EXPECT_EQ(CacheRowBytes(CacheType::kF32, 80), 320u);
  EXPECT_EQ(CacheRowBytes(CacheType::kF16, 80), 160u);
  EXPECT_EQ(CacheRowBytes(CacheType::kBF16, 80), 160u);
  EXPECT_EQ(CacheRowBytes(CacheType::kInt8, 64), 64u + 2 * 2);
  EXPECT_EQ(CacheRowBytes(CacheType::kInt8, 80), 80u + 3 * 2);
  EXPECT_EQ(CacheRowBytes(CacheType::kInt8, 5), 6u + 2) << "scales begin at even bytes";
}

TEST(CacheView, LaysBlocksLayersAndPlanesSideBySide) {
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16, CacheType::kInt8}) {
    std::vector<uint8_t> memory(1 << 16);
    CacheView view;
    view.data = memory.data();
    view.type = type;
    view.block_tokens = 4;
    view.kv_heads = 2;
    view.head_size = 8;
    view.layer_count = 3;
    const size_t plane = 4 * 2 * CacheRowBytes(type, 8);
    EXPECT_EQ(view.plane_bytes(), plane);
    EXPECT_EQ(view.block_bytes(), 6 * plane);
    const uint8_t* expected = memory.data();
    for (int32_t block = 0; block < 3; ++block) {
      for (int32_t layer = 0; layer < 3; ++layer) {
        EXPECT_EQ(view.keys(block, layer), expected);
        EXPECT_EQ(view.values(block, layer), expected + plane);
        expected += 2 * plane;
      }
    }
  }
}

TEST(KvCache, RoundsItsCapacityUpToWholeBlocks) {
  const auto cache = KvCache::Create(TwoGroups(), Options(41), SystemMemory());
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(cache->total_blocks(), 11);
  EXPECT_EQ(cache->free_blocks(), 11);
  EXPECT_EQ(cache->group_count(), 2);
  EXPECT_EQ(cache->BlocksFor(0), 0);
  EXPECT_EQ(cache->BlocksFor(4), 1);
  EXPECT_EQ(cache->BlocksFor(5), 2);
  EXPECT_EQ(cache->size_bytes(), 11u * 4 * 4 * 2 * (3 * 2 * 8 + 1 * 16));
}

TEST(KvCache, MemoryOfEveryBlockIsWritableAndItsOwn) {
  auto cache = KvCache::Create(TwoGroups(), Options(40, CacheType::kF16), SystemMemory());
  ASSERT_TRUE(cache.ok());
  for (int32_t group = 0; group < 2; ++group) {
    const CacheView& view = cache->views()[group];
    for (int32_t block = 0; block < 10; ++block) {
      std::memset(view.data + static_cast<size_t>(block) * view.block_bytes(), block + 1, view.block_bytes());
    }
    for (int32_t block = 0; block < 10; ++block) {
      for (int32_t layer = 0; layer < view.layer_count; ++layer) {
        EXPECT_EQ(view.keys(block, layer)[0], block + 1);
        EXPECT_EQ(view.values(block, layer)[view.plane_bytes() - 1], block + 1);
      }
    }
  }
}

TEST(KvCache, WithoutMemoryForEveryGroupIsAnErrorThatLeavesNothing) {
  for (int64_t nth = 1; nth <= 2; ++nth) {
    FailingMemory memory;
    memory.FailAt(nth);
    const auto cache = KvCache::Create(TwoGroups(), Options(40), &memory);
    EXPECT_EQ(CodeOf(cache.status()), ErrorCode::kOutOfMemory);
    EXPECT_EQ(memory.live_bytes(), 0u);
  }
}

TEST(KvCache, ASizeThatNoMemoryHasIsRefused) {
  EXPECT_EQ(CodeOf(KvCache::Create(TwoGroups(), Options(0), SystemMemory()).status()),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(KvCache::Create(TwoGroups(), Options(INT64_MAX), SystemMemory()).status()),
            ErrorCode::kInvalidArgument);
}

TEST(KvCache, FreeGivesTheMemoryBack) {
  FailingMemory memory;
  auto cache = KvCache::Create(TwoGroups(), Options(40), &memory);
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(memory.live_bytes(), cache->size_bytes());
  cache->Free();
  EXPECT_EQ(memory.live_bytes(), 0u);
  EXPECT_EQ(cache->views()[0].data, nullptr);
}

}  // namespace
}  // namespace tessera

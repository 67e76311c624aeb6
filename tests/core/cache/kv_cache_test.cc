// Blocks and the memory behind them: taken together, given back together, never twice.
#include "core/cache/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
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

KvCache::BlockLists NoBlocks() {
  KvCache::BlockLists lists(2);
  for (auto& list : lists) list.reserve(100);
  return lists;
}

TEST(BlockPool, GivesEachBlockOnceAndTakesItBack) {
  BlockPool pool(3);
  std::set<int32_t> taken;
  for (int i = 0; i < 3; ++i) taken.insert(pool.Take());
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.Take(), -1);
  EXPECT_EQ(pool.free(), 0);
  pool.Give(1);
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(pool.Take(), 1);
  EXPECT_EQ(pool.total(), 3);
}

TEST(BlockPool, BeginsAtTheLowestBlocks) {
  BlockPool pool(100);
  for (int32_t id = 0; id < 5; ++id) EXPECT_EQ(pool.Take(), id);
}

TEST(CacheView, LaysBlocksLayersAndPlanesSideBySide) {
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kBF16}) {
    std::vector<uint8_t> memory(1 << 16);
    CacheView view;
    view.data = memory.data();
    view.type = type;
    view.block_tokens = 4;
    view.kv_heads = 2;
    view.head_size = 8;
    view.layer_count = 3;
    const size_t plane = 4 * 2 * 8 * CacheTypeBytes(type);
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

TEST(KvCache, GrowsAllGroupsOrNone) {
  auto cache = KvCache::Create(TwoGroups(), Options(40), SystemMemory());
  ASSERT_TRUE(cache.ok());
  KvCache::BlockLists a = NoBlocks(), b = NoBlocks();
  int32_t added = -1;
  ASSERT_TRUE(cache->Grow(a, 25, &added));
  EXPECT_EQ(added, 7);
  EXPECT_EQ(a[0].size(), 7u);
  EXPECT_EQ(a[1].size(), 7u);
  EXPECT_EQ(cache->free_blocks(), 3);
  EXPECT_FALSE(cache->Grow(b, 13, &added));
  EXPECT_TRUE(b[0].empty() && b[1].empty());
  EXPECT_EQ(cache->free_blocks(), 3);
  EXPECT_TRUE(cache->Grow(b, 12, &added));
  EXPECT_EQ(cache->free_blocks(), 0);
}

TEST(KvCache, GrowingToWhatIsThereAlreadyAddsNothing) {
  auto cache = KvCache::Create(TwoGroups(), Options(40), SystemMemory());
  KvCache::BlockLists lists = NoBlocks();
  int32_t added;
  ASSERT_TRUE(cache->Grow(lists, 8, &added));
  for (const int64_t tokens : {0, 5, 8}) {
    added = -1;
    EXPECT_TRUE(cache->Grow(lists, tokens, &added));
    EXPECT_EQ(added, 0);
  }
  EXPECT_TRUE(cache->Grow(lists, 9, &added));
  EXPECT_EQ(added, 1);
}

TEST(KvCache, TrimsFromTheEndAndKeepsWhatTheTokensNeed) {
  auto cache = KvCache::Create(TwoGroups(), Options(40), SystemMemory());
  KvCache::BlockLists lists = NoBlocks();
  int32_t added;
  ASSERT_TRUE(cache->Grow(lists, 40, &added));
  const KvCache::BlockLists before = lists;
  cache->Trim(lists, 9);
  EXPECT_EQ(lists[0], std::vector<int32_t>(before[0].begin(), before[0].begin() + 3));
  EXPECT_EQ(lists[1], std::vector<int32_t>(before[1].begin(), before[1].begin() + 3));
  EXPECT_EQ(cache->free_blocks(), 7);
  cache->Trim(lists, 100);
  EXPECT_EQ(lists[0].size(), 3u);
  cache->Trim(lists, 0);
  EXPECT_TRUE(lists[0].empty() && lists[1].empty());
  EXPECT_EQ(cache->free_blocks(), 10);
}

TEST(KvCache, AnyOrderOfGrowthAndTrimKeepsEveryBlockWithOneOwner) {
  std::mt19937 random(1);
  auto cache = KvCache::Create(TwoGroups(), Options(100), SystemMemory());
  std::vector<KvCache::BlockLists> sequences(6, NoBlocks());
  for (auto& lists : sequences) {
    for (auto& list : lists) list.reserve(100);
  }
  for (int call = 0; call < 5000; ++call) {
    KvCache::BlockLists& lists = sequences[random() % sequences.size()];
    const int64_t tokens = random() % 60;
    const KvCache::BlockLists before = lists;
    int32_t added = 0;
    if (random() % 2 == 0) {
      const bool grown = cache->Grow(lists, tokens, &added);
      if (!grown) {
        ASSERT_EQ(lists, before);
      }
    } else {
      cache->Trim(lists, tokens);
    }
    for (size_t group = 0; group < 2; ++group) {
      std::set<int32_t> owned;
      size_t held = 0;
      for (const auto& each : sequences) {
        ASSERT_EQ(each[0].size(), each[1].size());
        held += each[group].size();
        owned.insert(each[group].begin(), each[group].end());
      }
      ASSERT_EQ(owned.size(), held);
      ASSERT_EQ(static_cast<int64_t>(held) + cache->free_blocks(), cache->total_blocks());
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

// References, the free and the idle.
#include "core/cache/block_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace tessera {
namespace {

TEST(BlockPool, GivesEachBlockOnceAndTakesItBack) {
  BlockPool pool(3);
  std::set<int32_t> taken;
  for (int i = 0; i < 3; ++i) taken.insert(pool.Take());
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.Take(), -1);
  EXPECT_EQ(pool.available(), 0);
  pool.Release(1);
  EXPECT_EQ(pool.available(), 1);
  EXPECT_EQ(pool.Take(), 1);
  EXPECT_EQ(pool.total(), 3);
}

TEST(BlockPool, BeginsAtTheLowestBlocks) {
  BlockPool pool(100);
  for (int32_t id = 0; id < 5; ++id) EXPECT_EQ(pool.Take(), id);
}

TEST(BlockPool, ASharedBlockIsFreeWithItsLastReference) {
  BlockPool pool(1);
  const int32_t id = pool.Take();
  pool.Refer(id);
  pool.Release(id);
  EXPECT_EQ(pool.Take(), -1);
  pool.Release(id);
  EXPECT_EQ(pool.Take(), id);
}

TEST(BlockPool, AKnownBlockIsIdleInTheOrderOfItsLastUseAndFreeOnceForgotten) {
  BlockPool pool(3);
  for (int i = 0; i < 3; ++i) pool.Remember(pool.Take(), 10 + i);
  for (const int32_t id : {2, 0, 1}) pool.Release(id);
  EXPECT_EQ(pool.available(), 3);
  EXPECT_EQ(pool.Take(), -1) << "idle is not free";
  EXPECT_EQ(pool.OldestIdle(), 2);
  pool.Refer(2);
  EXPECT_EQ(pool.available(), 2);
  EXPECT_EQ(pool.OldestIdle(), 0);
  pool.Forget(0);
  EXPECT_EQ(pool.Take(), 0);
  pool.Forget(2);  // in use: it stays so
  EXPECT_EQ(pool.Take(), -1);
  pool.Release(2);
  EXPECT_EQ(pool.Take(), 2);
  EXPECT_EQ(pool.OldestIdle(), 1);
}

}  // namespace
}  // namespace tessera

// Sequences that begin alike share blocks; what one writes no other sees. Memory is a shadow here: each slot
// holds a number that stands for the whole prefix up to it, so that a wrong block cannot look right.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "core/cache/kv_cache.h"

namespace tessera {
namespace {

constexpr int32_t kBlockTokens = 4;
constexpr int32_t kWindow = 10;

ModelSpec Spec(bool windowed_only = false) {
  ModelSpec spec;
  CacheGroupSpec full, window;
  full.kv_heads = window.kv_heads = 1;
  full.head_size = window.head_size = 4;
  full.layers = {0};
  window.layers = {1};
  window.window_tokens = kWindow;
  if (windowed_only) {
    spec.cache_groups = {window};
  } else {
    spec.cache_groups = {window, full};
  }
  return spec;
}

uint64_t PrefixOf(const std::vector<int32_t>& tokens, size_t end) {
  uint64_t hash = 17;
  for (size_t i = 0; i < end; ++i) hash = (hash ^ static_cast<uint64_t>(tokens[i])) * 0x9E3779B97F4A7C15u + i;
  return hash;
}

class Cache {
 public:
  struct Sequence {
    std::vector<int32_t> tokens;
    int64_t computed = 0;
    BlockTable table;
    std::vector<BlockCopy> copies;
    int64_t reserved = 0;  // tokens of a batch under way; 0: none
    uint64_t salt = 0;     // what it received is nobody else's, though the tokens be the same
  };

  explicit Cache(int64_t blocks, bool windowed_only = false, bool share = true) {
    CacheOptions options;
    options.block_tokens = kBlockTokens;
    options.capacity_tokens = blocks * kBlockTokens;
    options.share_prefixes = share;
    cache_ = std::make_unique<KvCache>(*KvCache::Create(Spec(windowed_only), options, SystemMemory()));
    groups_ = static_cast<size_t>(cache_->group_count());
    shadow_.assign(groups_, std::vector<uint64_t>(static_cast<size_t>(blocks) * kBlockTokens));
  }

  KvCache& operator*() { return *cache_; }
  KvCache* operator->() { return cache_.get(); }

  Sequence Make(std::vector<int32_t> tokens = {}) {
    Sequence sequence;
    sequence.tokens = std::move(tokens);
    sequence.table = cache_->MakeTable(256);
    sequence.copies.reserve(8);
    return sequence;
  }

  bool Begin(Sequence& s, int64_t rows) {
    s.copies.clear();
    if (!cache_->Extend(s.table, s.computed, s.computed + rows, &s.copies)) return false;
    s.reserved = rows;
    for (const BlockCopy& copy : s.copies) {
      for (int32_t i = 0; i < kBlockTokens; ++i) At(copy.group, copy.to, i) = At(copy.group, copy.from, i);
    }
    for (int64_t at = s.computed; at < s.computed + rows; ++at) {
      for (size_t group = 0; group < groups_; ++group) {
        const int32_t block = s.table[group][static_cast<size_t>(at / kBlockTokens)];
        At(static_cast<int32_t>(group), block, static_cast<int32_t>(at % kBlockTokens)) =
            s.salt + PrefixOf(s.tokens, static_cast<size_t>(at) + 1);
      }
    }
    return true;
  }
  // An empty sequence takes `tokens` tokens from elsewhere.
  bool Receive(Sequence& s, int64_t tokens) {
    if (!cache_->Receive(s.table, tokens)) return false;
    s.salt = ++salts_;
    s.computed = tokens;
    for (size_t group = 0; group < groups_; ++group) {
      for (int64_t at = 0; at < tokens; ++at) {
        const int32_t block = s.table[group][static_cast<size_t>(at / kBlockTokens)];
        if (block < 0) continue;
        At(static_cast<int32_t>(group), block, static_cast<int32_t>(at % kBlockTokens)) =
            s.salt + PrefixOf(s.tokens, static_cast<size_t>(at) + 1);
      }
    }
    return true;
  }
  void End(Sequence& s, bool well) {
    if (well) {
      s.computed += s.reserved;
      cache_->Settle(s.table, s.tokens, s.computed);
    } else {
      cache_->Revert(s.table, s.computed);
    }
    s.reserved = 0;
  }
  bool Compute(Sequence& s, int64_t rows) {
    if (!Begin(s, rows)) return false;
    End(s, true);
    return true;
  }
  void Retreat(Sequence& s, int64_t tokens) {
    s.computed = cache_->Trim(s.table, tokens);
    if (s.computed == 0) s.salt = 0;
  }

  // All that a query behind the computed tokens looks at is there, and is its own prefix.
  void Check(const Sequence& s) {
    for (size_t group = 0; group < groups_; ++group) {
      const bool windowed = groups_ == 1 || group == 0;
      const int64_t first = windowed ? std::max<int64_t>(s.computed - kWindow + 1, 0) : 0;
      for (int64_t at = first; at < s.computed; ++at) {
        const int32_t block = s.table[group][static_cast<size_t>(at / kBlockTokens)];
        ASSERT_GE(block, 0) << "group " << group << " token " << at;
        ASSERT_EQ(At(static_cast<int32_t>(group), block, static_cast<int32_t>(at % kBlockTokens)),
                  s.salt + PrefixOf(s.tokens, static_cast<size_t>(at) + 1))
            << "group " << group << " token " << at;
      }
    }
  }

  size_t Held(const std::vector<const Sequence*>& sequences, size_t group) const {
    std::map<int32_t, int> owners;
    for (const Sequence* s : sequences) {
      for (const int32_t block : s->table[group]) {
        if (block >= 0) ++owners[block];
      }
      for (const BlockCopy& copy : s->copies) {
        if (s->reserved > 0 && static_cast<size_t>(copy.group) == group) ++owners[copy.from];
      }
    }
    return owners.size();
  }

 private:
  uint64_t& At(int32_t group, int32_t block, int32_t slot) {
    return shadow_[static_cast<size_t>(group)]
                  [static_cast<size_t>(block) * kBlockTokens + static_cast<size_t>(slot)];
  }
  std::unique_ptr<KvCache> cache_;
  size_t groups_ = 0;
  uint64_t salts_ = 0;
  std::vector<std::vector<uint64_t>> shadow_;  // [group][block * kBlockTokens + slot]
};

std::vector<int32_t> Count(int32_t first, int32_t count) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) tokens.push_back(first + i);
  return tokens;
}

TEST(PrefixSharing, ASecondSequenceTakesTheFirstsFullBlocksAndLeavesOneTokenToCompute) {
  Cache cache(64);
  Cache::Sequence first = cache.Make(Count(0, 16)), second = cache.Make(Count(0, 16));
  ASSERT_TRUE(cache.Compute(first, 16));
  second.computed = cache->Adopt(second.table, second.tokens);
  EXPECT_EQ(second.computed, 12);
  cache.Check(second);
  EXPECT_EQ(second.table[1][0], first.table[1][0]);
  EXPECT_EQ(cache->free_blocks(), 64 - 4);
}

TEST(PrefixSharing, OtherTokensFindNothing) {
  Cache cache(64);
  Cache::Sequence first = cache.Make(Count(0, 16)), second = cache.Make(Count(0, 16));
  ASSERT_TRUE(cache.Compute(first, 16));
  second.tokens[5] = 99;
  second.computed = cache->Adopt(second.table, second.tokens);
  EXPECT_EQ(second.computed, 4) << "the first block is the same, the second not";
  cache.Check(second);
}

TEST(PrefixSharing, BlocksOutliveTheirSequenceUntilTheyAreNeeded) {
  Cache cache(8);
  Cache::Sequence first = cache.Make(Count(0, 16));
  ASSERT_TRUE(cache.Compute(first, 16));
  cache.Retreat(first, 0);
  EXPECT_EQ(cache->free_blocks(), 8);
  Cache::Sequence second = cache.Make(Count(0, 16));
  second.computed = cache->Adopt(second.table, second.tokens);
  EXPECT_EQ(second.computed, 12);
  cache.Check(second);
  cache.Retreat(second, 0);
  Cache::Sequence third = cache.Make(Count(100, 32));
  ASSERT_TRUE(cache.Compute(third, 32)) << "what is idle gives way";
  Cache::Sequence fourth = cache.Make(Count(0, 16));
  EXPECT_EQ(cache->Adopt(fourth.table, fourth.tokens), 0);
}

TEST(PrefixSharing, TwoThatComputedTheSameEndUpWithOneCopy) {
  Cache cache(64);
  Cache::Sequence first = cache.Make(Count(0, 8)), second = cache.Make(Count(0, 8));
  ASSERT_TRUE(cache.Begin(first, 8));
  ASSERT_TRUE(cache.Begin(second, 8));
  EXPECT_EQ(cache->free_blocks(), 60);
  cache.End(first, true);
  cache.End(second, true);
  EXPECT_EQ(cache->free_blocks(), 62);
  cache.Check(first);
  cache.Check(second);
}

TEST(PrefixSharing, AForkWritesIntoACopyAndItsSourceIsUntouched) {
  Cache cache(64);
  Cache::Sequence source = cache.Make(Count(0, 10));
  ASSERT_TRUE(cache.Compute(source, 6));
  Cache::Sequence fork = cache.Make(Count(0, 6));
  cache->Share(source.table, 6, fork.table);
  fork.computed = 6;
  EXPECT_EQ(cache->free_blocks(), 62) << "nothing is copied yet";
  fork.tokens.push_back(77);
  ASSERT_TRUE(cache.Compute(fork, 1));
  EXPECT_EQ(fork.copies.size(), 2u) << "one a group";
  ASSERT_TRUE(cache.Compute(source, 2));
  EXPECT_TRUE(source.copies.empty()) << "the other has its own now";
  cache.Check(source);
  cache.Check(fork);
}

TEST(PrefixSharing, AFailedBatchPutsTheReplacedBlockBack) {
  Cache cache(64);
  Cache::Sequence source = cache.Make(Count(0, 10));
  ASSERT_TRUE(cache.Compute(source, 6));
  Cache::Sequence fork = cache.Make(Count(0, 12));
  cache->Share(source.table, 6, fork.table);
  fork.computed = 6;
  const int64_t free = cache->free_blocks();
  ASSERT_TRUE(cache.Begin(fork, 6));
  Cache::Sequence grandchild = cache.Make(Count(0, 6));
  cache->Share(fork.table, 6, grandchild.table);  // while the batch is under way
  grandchild.computed = 6;
  cache.End(fork, false);
  EXPECT_EQ(cache->free_blocks(), free);
  EXPECT_EQ(fork.table[0], source.table[0]);
  cache.Check(fork);
  cache.Check(grandchild);
  cache.Check(source);
}

TEST(PrefixSharing, WithoutABlockForACopyTheOnlyHolderWritesInPlace) {
  Cache cache(2, /*windowed_only=*/true);
  Cache::Sequence s = cache.Make(Count(0, 8));
  ASSERT_TRUE(cache.Compute(s, 8));
  s.tokens[5] = 99;
  cache.Retreat(s, 5);
  ASSERT_TRUE(cache.Begin(s, 3)) << "the second block is registered, and no third is there";
  EXPECT_TRUE(s.copies.size() <= 1);
  cache.End(s, true);
  cache.Check(s);
}

TEST(PrefixSharing, SlidingWindowsGiveTheirBlocksBack) {
  Cache cache(8);
  Cache::Sequence s = cache.Make(Count(0, 32));
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(cache.Compute(s, 1));
  cache.Check(s);
  EXPECT_EQ(s.table[0].size(), 8u);
  EXPECT_EQ(std::count(s.table[0].begin(), s.table[0].end(), -1), 5) << "tokens 0 to 22 are out of sight";
  EXPECT_EQ(std::count(s.table[1].begin(), s.table[1].end(), -1), 0);
}

TEST(PrefixSharing, ARewindBehindAMovedWindowStartsAgain) {
  Cache cache(8);
  Cache::Sequence s = cache.Make(Count(0, 32));
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(cache.Compute(s, 1));
  cache.Retreat(s, 31);
  EXPECT_EQ(s.computed, 31);
  cache.Check(s);
  cache.Retreat(s, 12);
  EXPECT_EQ(s.computed, 0);
  EXPECT_EQ(cache->free_blocks(), 8);
}

TEST(PrefixSharing, WhatIsDisownedIsAdoptedByNobody) {
  Cache cache(64);
  Cache::Sequence first = cache.Make(Count(0, 16));
  ASSERT_TRUE(cache.Compute(first, 16));
  cache->Disown(first.table, 8);
  cache.Retreat(first, 8);
  Cache::Sequence second = cache.Make(Count(0, 16));
  EXPECT_EQ(cache->Adopt(second.table, second.tokens), 8);
}

TEST(PrefixSharing, SwitchedOffNothingIsShared) {
  Cache cache(64, false, /*share=*/false);
  Cache::Sequence first = cache.Make(Count(0, 16)), second = cache.Make(Count(0, 16));
  ASSERT_TRUE(cache.Compute(first, 16));
  EXPECT_EQ(cache->Adopt(second.table, second.tokens), 0);
}

TEST(PrefixSharing, WhatWasReceivedNobodyAdoptsButForksShareIt) {
  Cache cache(64);
  Cache::Sequence received = cache.Make(Count(0, 40));
  ASSERT_TRUE(cache.Receive(received, 14));
  EXPECT_EQ(received.table[0][0], -1) << "out of the window of a query at 14";
  EXPECT_EQ(cache->free_blocks(), 64 - 4);
  cache.Check(received);
  ASSERT_TRUE(cache.Compute(received, 10));
  cache.Check(received);

  Cache::Sequence stranger = cache.Make(Count(0, 40));
  EXPECT_EQ(cache->Adopt(stranger.table, stranger.tokens), 0);

  Cache::Sequence fork = cache.Make(Count(0, 40));
  cache->Share(received.table, 24, fork.table);
  fork.computed = 24;
  fork.salt = received.salt;
  ASSERT_TRUE(cache.Begin(fork, 8));
  ASSERT_TRUE(cache.Begin(received, 8));
  const int64_t free = cache->free_blocks();
  cache.End(fork, true);
  cache.End(received, true);
  EXPECT_GT(cache->free_blocks(), free) << "both computed the same behind what they share";
  cache.Check(fork);
  cache.Check(received);
}

TEST(PrefixSharing, WithoutRoomNothingIsReceived) {
  Cache cache(8);
  Cache::Sequence holder = cache.Make(Count(50, 20)), received = cache.Make(Count(0, 40));
  ASSERT_TRUE(cache.Compute(holder, 20));
  EXPECT_FALSE(cache->Receive(received.table, 16));
  EXPECT_FALSE(cache->Receive(received.table, 1000));
  EXPECT_TRUE(received.table.empty());
  EXPECT_EQ(cache->free_blocks(), 3);
  cache.Retreat(holder, 0);
  EXPECT_TRUE(cache.Receive(received, 16)) << "what is idle gives way";
}

// Any calls in any order. Prompts come from few, so that they meet.
TEST(PrefixSharing, ByChanceEverySequenceFindsItsOwnPrefixAndNoBlockIsLost) {
  uint64_t adopted = 0, copied = 0, refused = 0, restarted = 0, received = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int64_t bound) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
    };
    const bool windowed_only = seed % 4 == 3;
    Cache cache(40, windowed_only);
    std::vector<Cache::Sequence> sequences;
    for (int i = 0; i < 7; ++i) sequences.push_back(cache.Make());
    for (int call = 0; call < 3000; ++call) {
      Cache::Sequence& s = sequences[static_cast<size_t>(below(7))];
      const int64_t what = below(100);
      if (s.reserved > 0) {
        cache.End(s, what < 80);
      } else if (what < 10) {
        cache.Retreat(s, 0);
        s.tokens.clear();
        const int64_t which = below(3), length = 1 + below(40);
        for (int64_t i = 0; i < length; ++i) s.tokens.push_back(static_cast<int32_t>(which * 100 + i / 9));
        s.computed = cache->Adopt(s.table, s.tokens);
        adopted += s.computed > 0;
      } else if (what < 20) {
        const int64_t tokens = below(s.computed + 1);
        const bool had = s.computed > 0;
        cache.Retreat(s, tokens);
        restarted += had && tokens > 0 && s.computed == 0;
        s.tokens.resize(static_cast<size_t>(std::max<int64_t>(s.computed, tokens)));
      } else if (what < 30) {
        Cache::Sequence& fork = sequences[static_cast<size_t>(below(7))];
        if (&fork == &s || fork.reserved > 0) continue;
        cache.Retreat(fork, 0);
        fork.tokens.assign(s.tokens.begin(), s.tokens.begin() + static_cast<std::ptrdiff_t>(s.computed));
        cache->Share(s.table, s.computed, fork.table);
        fork.computed = s.computed;
        fork.salt = s.computed > 0 ? s.salt : 0;
      } else if (what < 34) {
        const int64_t tokens = 1 + below(30);
        cache.Retreat(s, 0);
        while (static_cast<int64_t>(s.tokens.size()) < tokens) s.tokens.push_back(7);
        received += cache.Receive(s, tokens);
      } else {
        const int64_t rows = 1 + below(6);
        while (static_cast<int64_t>(s.tokens.size()) < s.computed + rows) {
          s.tokens.push_back(static_cast<int32_t>(below(3)));
        }
        if (!cache.Begin(s, rows)) {
          ++refused;
          Cache::Sequence& victim = sequences[static_cast<size_t>(below(7))];
          if (victim.reserved == 0) cache.Retreat(victim, 0);
        }
        copied += s.copies.size();
      }
      std::vector<const Cache::Sequence*> all;
      for (const Cache::Sequence& each : sequences) {
        all.push_back(&each);
        ASSERT_NO_FATAL_FAILURE(cache.Check(each)) << "seed " << seed << " call " << call;
      }
      int64_t most = 0;
      for (size_t group = 0; group < static_cast<size_t>(cache->group_count()); ++group) {
        most = std::max(most, static_cast<int64_t>(cache.Held(all, group)));
      }
      ASSERT_EQ(cache->free_blocks(), cache->total_blocks() - most) << "seed " << seed << " call " << call;
    }
  }
  EXPECT_GT(adopted, 1000u);
  EXPECT_GT(copied, 1000u);
  EXPECT_GT(refused, 200u);
  EXPECT_GT(restarted, 100u);
  EXPECT_GT(received, 1000u);
}

}  // namespace
}  // namespace tessera

// The paged cache of keys and values: for each group of layers one pool of blocks and one region of memory. A
// sequence's blocks are listed in its session, one list a group; all lists of a session have one length.
#ifndef TESSERA_CORE_CACHE_KV_CACHE_H_
#define TESSERA_CORE_CACHE_KV_CACHE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/cache/block_pool.h"
#include "core/cache/cache_view.h"
#include "core/env/memory.h"
#include "core/model/model_spec.h"

namespace tessera {

struct CacheOptions {
  CacheType type = CacheType::kF16;
  int32_t block_tokens = 16;
  int64_t capacity_tokens = 0;  // rounded up to whole blocks
};

class KvCache {
 public:
  using BlockLists = std::vector<std::vector<int32_t>>;  // [group][block index]

  static absl::StatusOr<KvCache> Create(const ModelSpec& spec, const CacheOptions& options,
                                        MemorySource* memory);

  int32_t block_tokens() const { return block_tokens_; }
  int32_t group_count() const { return static_cast<int32_t>(pools_.size()); }
  int64_t total_blocks() const { return pools_[0].total(); }
  int64_t free_blocks() const { return pools_[0].free(); }
  size_t size_bytes() const;
  const CacheView* views() const { return views_.data(); }
  int64_t BlocksFor(int64_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }

  // Grows the lists to hold `tokens`. False, with nothing changed, when a pool has too few; `added` gets how
  // many blocks a list grew by. The lists' capacity suffices, so nothing is allocated.
  bool Grow(BlockLists& lists, int64_t tokens, int32_t* added) noexcept;
  // Gives the memory back; the cache must not be used afterwards.
  void Free() noexcept;
  // Cuts the lists to what `tokens` need; the rest is free again.
  void Trim(BlockLists& lists, int64_t tokens) noexcept;

 private:
  KvCache() = default;
  int32_t block_tokens_ = 0;
  std::vector<BlockPool> pools_;       // [group], equally many blocks each
  std::vector<MemoryRegion> regions_;  // [group]
  std::vector<CacheView> views_;       // [group]
};

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_KV_CACHE_H_

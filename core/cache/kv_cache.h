// The paged cache of keys and values: for each group of layers one pool of blocks and one region of memory. A
// sequence holds blocks through its BlockTable; sequences that begin alike hold the same ones. A block is
// written by one sequence only: who shares it, or finds it registered, copies it first.
#ifndef TESSERA_CORE_CACHE_KV_CACHE_H_
#define TESSERA_CORE_CACHE_KV_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/cache/block_pool.h"
#include "core/cache/cache_view.h"
#include "core/cache/prefix_index.h"
#include "core/env/memory.h"
#include "core/model/model_spec.h"
#include "core/request/block_table.h"

namespace tessera {

struct CacheOptions {
  CacheType type = CacheType::kF16;
  int32_t block_tokens = 16;
  int64_t capacity_tokens = 0;  // rounded up to whole blocks
  bool share_prefixes = true;
};

// What a cache comes to, before anything is allocated.
struct KvCacheShape {
  int64_t blocks = 0;  // of each group
  int32_t block_tokens = 0;
  uint64_t size_bytes = 0;       // of keys and values
  uint64_t block_bytes = 0;      // of these, one block in every group
  uint64_t object_bytes = 0;     // lists and the prefix index, on the heap
  int32_t index_nodes = 0;       // of the prefix index
  std::vector<CacheView> views;  // [group], without data
};

// None but Create and MakeTable allocates. Guarded by the engine's mutex.
class KvCache {
 public:
  static absl::StatusOr<KvCacheShape> Shape(const ModelSpec& spec, const CacheOptions& options);
  static absl::StatusOr<KvCache> Create(const ModelSpec& spec, const CacheOptions& options,
                                        MemorySource* memory);

  int32_t block_tokens() const { return block_tokens_; }
  int32_t group_count() const { return static_cast<int32_t>(pools_.size()); }
  int64_t total_blocks() const { return pools_[0].total(); }
  int64_t free_blocks() const;  // of the group that has fewest; held by no sequence
  size_t size_bytes() const;
  const CacheView* views() const { return views_.data(); }
  int64_t BlocksFor(int64_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }

  // With room for sequences of so many tokens.
  BlockTable MakeTable(int64_t most_tokens) const;

  // Makes [first, end) writable; the table holds exactly [0, first). Appends to `copies` (capacity: one a
  // group) what must be copied before. False, with nothing changed, when blocks are lacking.
  bool Extend(BlockTable& table, int64_t first, int64_t end, std::vector<BlockCopy>* copies) noexcept;
  // Whether an Extend from `first` on would have to copy a block.
  bool NeedsCopy(const BlockTable& table, int64_t first) const noexcept;
  // The batch that an Extend was for has ended: well, so that [0, computed) of `tokens` is in the cache ...
  void Settle(BlockTable& table, absl::Span<const int32_t> tokens, int64_t computed) noexcept;
  // ... or not at all: the table holds [0, computed) as before.
  void Revert(BlockTable& table, int64_t computed) noexcept;

  // Cuts the table to [0, tokens). Returns how many of these can still be used: all, or none where a window
  // has moved past what they need.
  int64_t Trim(BlockTable& table, int64_t tokens) noexcept;
  // An empty table takes the longest registered beginning of `tokens`, in whole blocks and leaving the last
  // token to compute. Returns its length in tokens.
  int64_t Adopt(BlockTable& table, absl::Span<const int32_t> tokens) noexcept;
  // An empty table becomes another's [0, tokens), which is in the cache.
  void Share(const BlockTable& from, int64_t tokens, BlockTable& to) noexcept;
  // An empty table gets blocks of its own for [0, tokens), as far back as windows reach, for the caller to
  // fill with what was saved. Nobody else ever finds them by their tokens: only what this engine computed
  // itself is trusted so far. False, with nothing changed, when blocks are lacking.
  bool Receive(BlockTable& table, int64_t tokens) noexcept;
  // The first block that a query at position `tokens` of this group looks at.
  int64_t FirstNeeded(size_t group, int64_t tokens) const;
  int32_t window_tokens(size_t group) const { return windows_[group]; }
  // Whoever holds this may read and write the blocks that it holds after a Free, too.
  std::shared_ptr<const void> memory() const { return regions_; }
  // What the table holds from block `tokens / block_tokens` on is not what its tokens say: nobody shall adopt
  // it.
  void Disown(BlockTable& table, int64_t tokens) noexcept;
  // Gives the memory back, as soon as nobody holds it; the cache must not be used afterwards.
  void Free() noexcept;

 private:
  KvCache(int32_t block_tokens, bool share_prefixes, PrefixIndex index)
      : block_tokens_(block_tokens), share_prefixes_(share_prefixes), index_(std::move(index)) {}
  BlockPool& pool(size_t group) { return pools_[group]; }
  // Nobody else holds the block or may come to hold it.
  bool Own(size_t group, int32_t block) const {
    return pools_[group].refs(block) == 1 && pools_[group].node(block) < 0;
  }
  int32_t Take(size_t group) noexcept;  // evicts what is idle; -1: none
  void DropNode(int32_t node) noexcept;
  bool Replace(BlockTable& table, size_t group, size_t index, std::vector<BlockCopy>* copies) noexcept;
  void Register(BlockTable& table, absl::Span<const int32_t> tokens, int64_t computed) noexcept;
  void SlideWindows(BlockTable& table, int64_t computed) noexcept;

  int32_t block_tokens_ = 0;
  bool share_prefixes_ = true;
  size_t primary_ = 0;            // the group whose block a node cannot do without: one without a window
  std::vector<BlockPool> pools_;  // [group], equally many blocks each
  std::vector<int32_t> windows_;  // [group], tokens; 0: none
  std::vector<CacheView> views_;  // [group]
  std::shared_ptr<std::vector<MemoryRegion>> regions_ =
      std::make_shared<std::vector<MemoryRegion>>();  // [group]
  PrefixIndex index_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_KV_CACHE_H_

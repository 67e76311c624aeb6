#include "core/cache/kv_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/checked.h"
#include "core/base/status.h"

namespace tessera {

absl::StatusOr<KvCache> KvCache::Create(const ModelSpec& spec, const CacheOptions& options,
                                        MemorySource* memory) {
  const uint64_t blocks =
      CeilDivide(static_cast<uint64_t>(options.capacity_tokens), static_cast<uint64_t>(options.block_tokens));
  if (blocks == 0 || blocks > std::numeric_limits<int32_t>::max()) {
    return InvalidArgument("setting 'engine.cache_tokens'",
                           absl::StrCat(options.capacity_tokens, " tokens make ", blocks, " blocks"));
  }
  KvCache cache;
  cache.block_tokens_ = options.block_tokens;
  cache.pools_.reserve(spec.cache_groups.size());
  for (const CacheGroupSpec& group : spec.cache_groups) {
    CacheView view;
    view.type = options.type;
    view.block_tokens = options.block_tokens;
    view.kv_heads = group.kv_heads;
    view.head_size = group.head_size;
    view.layer_count = static_cast<int32_t>(group.layers.size());
    const std::optional<uint64_t> bytes = CheckedMultiply(view.block_bytes(), blocks);
    if (!bytes || *bytes > std::numeric_limits<size_t>::max() / 2) {
      return OutOfMemory("KV cache", std::numeric_limits<uint64_t>::max());
    }
    TSR_ASSIGN_OR_RETURN(MemoryRegion region, MemoryRegion::Create(memory, MemoryClass::kCache,
                                                                   static_cast<size_t>(*bytes), "KV cache"));
    view.data = region.data();
    cache.pools_.emplace_back(static_cast<int32_t>(blocks));
    cache.regions_.push_back(std::move(region));
    cache.views_.push_back(view);
  }
  return cache;
}

size_t KvCache::size_bytes() const {
  size_t bytes = 0;
  for (const MemoryRegion& region : regions_) bytes += region.size_bytes();
  return bytes;
}

bool KvCache::Grow(BlockLists& lists, int64_t tokens, int32_t* added) noexcept {
  const int64_t need = BlocksFor(tokens) - static_cast<int64_t>(lists[0].size());
  *added = 0;
  if (need <= 0) return true;
  for (const BlockPool& pool : pools_) {
    if (pool.free() < need) return false;
  }
  for (size_t group = 0; group < pools_.size(); ++group) {
    for (int64_t i = 0; i < need; ++i) lists[group].push_back(pools_[group].Take());
  }
  *added = static_cast<int32_t>(need);
  return true;
}

void KvCache::Free() noexcept {
  for (MemoryRegion& region : regions_) region = MemoryRegion();
  for (CacheView& view : views_) view.data = nullptr;
}

void KvCache::Trim(BlockLists& lists, int64_t tokens) noexcept {
  const size_t keep = static_cast<size_t>(BlocksFor(tokens));
  for (size_t group = 0; group < pools_.size(); ++group) {
    std::vector<int32_t>& list = lists[group];
    while (list.size() > keep) {
      pools_[group].Give(list.back());
      list.pop_back();
    }
  }
}

}  // namespace tessera

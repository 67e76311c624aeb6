#include "core/cache/kv_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/checked.h"
#include "core/base/status.h"

namespace tessera {

absl::StatusOr<KvCacheShape> KvCache::Shape(const ModelSpec& spec, const CacheOptions& options) {
  const uint64_t blocks =
      CeilDivide(static_cast<uint64_t>(options.capacity_tokens), static_cast<uint64_t>(options.block_tokens));
  if (blocks == 0 || blocks > std::numeric_limits<int32_t>::max()) {
    return InvalidArgument("setting 'engine.cache_tokens'",
                           absl::StrCat(options.capacity_tokens, " tokens make ", blocks, " blocks"));
  }
  KvCacheShape shape;
  shape.blocks = static_cast<int64_t>(blocks);
  shape.block_tokens = options.block_tokens;
  for (const CacheGroupSpec& group : spec.cache_groups) {
    CacheView view;
    view.type = options.type;
    view.block_tokens = options.block_tokens;
    view.kv_heads = group.kv_heads;
    view.head_size = group.head_size;
    view.layer_count = static_cast<int32_t>(group.layers.size());
    const std::optional<uint64_t> bytes = CheckedMultiply(view.block_bytes(), blocks);
    const std::optional<uint64_t> sum = bytes ? CheckedAdd(shape.size_bytes, *bytes) : std::nullopt;
    if (!sum || *sum > std::numeric_limits<size_t>::max() / 2) {
      return OutOfMemory("KV cache", std::numeric_limits<uint64_t>::max());
    }
    shape.size_bytes = *sum;
    shape.block_bytes += view.block_bytes();
    shape.object_bytes += BlockPool::HeapBytes(blocks);
    shape.views.push_back(view);
  }
  const auto groups = static_cast<uint64_t>(shape.views.size());
  shape.index_nodes = options.share_prefixes ? static_cast<int32_t>(blocks) : 0;
  shape.object_bytes += PrefixIndex::HeapBytes(static_cast<uint64_t>(shape.index_nodes), groups,
                                               static_cast<uint64_t>(options.block_tokens));
  return shape;
}

absl::StatusOr<KvCache> KvCache::Create(const ModelSpec& spec, const CacheOptions& options,
                                        MemorySource* memory) {
  TSR_ASSIGN_OR_RETURN(const KvCacheShape shape, Shape(spec, options));
  const auto count = static_cast<int32_t>(shape.blocks);
  const auto groups = static_cast<int32_t>(spec.cache_groups.size());
  KvCache cache(options.block_tokens, options.share_prefixes,
                PrefixIndex(shape.index_nodes, groups, options.block_tokens));
  cache.pools_.reserve(spec.cache_groups.size());
  bool primary_found = false;
  for (size_t i = 0; i < spec.cache_groups.size(); ++i) {
    const CacheGroupSpec& group = spec.cache_groups[i];
    CacheView view = shape.views[i];
    TSR_ASSIGN_OR_RETURN(MemoryRegion region,
                         MemoryRegion::Create(memory, MemoryClass::kCache,
                                              view.block_bytes() * static_cast<size_t>(count), "KV cache"));
    view.data = region.data();
    if (!primary_found && group.window_tokens == 0) {
      primary_found = true;
      cache.primary_ = cache.pools_.size();
    }
    cache.pools_.emplace_back(count);
    cache.windows_.push_back(group.window_tokens);
    cache.regions_->push_back(std::move(region));
    cache.views_.push_back(view);
  }
  return cache;
}

size_t KvCache::size_bytes() const {
  size_t bytes = 0;
  if (regions_ == nullptr) return bytes;
  for (const MemoryRegion& region : *regions_) bytes += region.size_bytes();
  return bytes;
}

int64_t KvCache::free_blocks() const {
  int32_t least = std::numeric_limits<int32_t>::max();
  for (const BlockPool& pool : pools_) least = std::min(least, pool.available());
  return least;
}

BlockTable KvCache::MakeTable(int64_t most_tokens) const {
  const auto blocks = static_cast<size_t>(BlocksFor(most_tokens));
  BlockTable table;
  table.lists_.resize(pools_.size());
  for (std::vector<int32_t>& list : table.lists_) list.reserve(blocks);
  table.keys_.reserve(blocks);
  table.replaced_.resize(pools_.size());
  return table;
}

int64_t KvCache::FirstNeeded(size_t group, int64_t tokens) const {
  if (windows_[group] == 0) return 0;
  return std::max<int64_t>(tokens - windows_[group] + 1, 0) / block_tokens_;
}

int32_t KvCache::Take(size_t group) noexcept {
  const int32_t free = pools_[group].Take();
  if (free >= 0) return free;
  const int32_t oldest = pools_[group].OldestIdle();
  if (oldest < 0) return -1;
  const int32_t node = pools_[group].node(oldest);
  if (group == primary_) {
    DropNode(node);
  } else {
    index_.block(node, static_cast<int32_t>(group)) = -1;
    pools_[group].Forget(oldest);
  }
  return pools_[group].Take();
}

void KvCache::DropNode(int32_t node) noexcept {
  for (size_t group = 0; group < pools_.size(); ++group) {
    const int32_t block = index_.block(node, static_cast<int32_t>(group));
    if (block >= 0) pools_[group].Forget(block);
  }
  index_.Remove(node);
}

// The block at `index` is partly filled and somebody else's too.
bool KvCache::Replace(BlockTable& table, size_t group, size_t index,
                      std::vector<BlockCopy>* copies) noexcept {
  int32_t& block = table.lists_[group][index];
  BlockPool& blocks = pools_[group];
  const int32_t fresh = Take(group);
  if (fresh < 0) {
    if (blocks.refs(block) != 1) return false;
    // Only the index knows it besides: rather forget that than fail.
    DropNode(blocks.node(block));
    return true;
  }
  copies->push_back({static_cast<int32_t>(group), block, fresh});
  table.replaced_[group] = {static_cast<int32_t>(index), block};
  block = fresh;
  return true;
}

bool KvCache::NeedsCopy(const BlockTable& table, int64_t first) const noexcept {
  if (first % block_tokens_ == 0) return false;
  const auto index = static_cast<size_t>(first / block_tokens_);
  for (size_t group = 0; group < pools_.size(); ++group) {
    if (!Own(group, table.lists_[group][index])) return true;
  }
  return false;
}

bool KvCache::Extend(BlockTable& table, int64_t first, int64_t end, std::vector<BlockCopy>* copies) noexcept {
  const auto have = static_cast<int64_t>(table.lists_[0].size());
  const int64_t need = BlocksFor(end) - have;
  for (const BlockPool& pool : pools_) {
    if (pool.available() < need) return false;
  }
  const size_t copies_before = copies->size();
  const auto undo = [&] {
    Revert(table, first);
    copies->resize(copies_before);
    return false;
  };
  if (first % block_tokens_ != 0) {
    const auto index = static_cast<size_t>(first / block_tokens_);
    for (size_t group = 0; group < pools_.size(); ++group) {
      if (!Own(group, table.lists_[group][index]) && !Replace(table, group, index, copies)) return undo();
    }
  }
  for (size_t group = 0; group < pools_.size(); ++group) {
    for (int64_t i = 0; i < need; ++i) {
      const int32_t block = Take(group);
      if (block < 0) return undo();
      table.lists_[group].push_back(block);
    }
  }
  return true;
}

void KvCache::Settle(BlockTable& table, absl::Span<const int32_t> tokens, int64_t computed) noexcept {
  for (size_t group = 0; group < pools_.size(); ++group) {
    const BlockTable::Replaced gone = std::exchange(table.replaced_[group], {});
    if (gone.block >= 0) pools_[group].Release(gone.block);
  }
  Register(table, tokens, computed);
  SlideWindows(table, computed);
}

void KvCache::Revert(BlockTable& table, int64_t computed) noexcept {
  for (size_t group = 0; group < pools_.size(); ++group) {
    const BlockTable::Replaced old = std::exchange(table.replaced_[group], {});
    if (old.block < 0) continue;
    int32_t& block = table.lists_[group][static_cast<size_t>(old.index)];
    pools_[group].Release(block);
    block = old.block;
  }
  const auto keep = static_cast<size_t>(BlocksFor(computed));
  for (size_t group = 0; group < pools_.size(); ++group) {
    std::vector<int32_t>& list = table.lists_[group];
    while (list.size() > keep) {  // the last first: beginnings are worth more to others
      if (list.back() >= 0) pools_[group].Release(list.back());
      list.pop_back();
    }
  }
  table.keys_.resize(std::min(table.keys_.size(), static_cast<size_t>(computed / block_tokens_)));
  if (keep == 0) table.root_ = 0;
}

int64_t KvCache::Trim(BlockTable& table, int64_t tokens) noexcept {
  Revert(table, tokens);
  for (size_t group = 0; group < pools_.size(); ++group) {
    const std::vector<int32_t>& list = table.lists_[group];
    for (auto i = static_cast<size_t>(FirstNeeded(group, tokens)); i < list.size(); ++i) {
      if (list[i] >= 0) continue;
      Revert(table, 0);
      return 0;
    }
  }
  return tokens;
}

void KvCache::Register(BlockTable& table, absl::Span<const int32_t> tokens, int64_t computed) noexcept {
  if (!share_prefixes_) return;
  const auto size = static_cast<size_t>(block_tokens_);
  const auto full = static_cast<size_t>(computed / block_tokens_);
  while (table.keys_.size() < full) {
    const size_t i = table.keys_.size();
    const PrefixKey root = table.root_ == 0 ? kEmptyPrefix : table.root_;
    const PrefixKey parent = i == 0 ? root : table.keys_[i - 1];
    const absl::Span<const int32_t> block_tokens = tokens.subspan(i * size, size);
    int32_t node = index_.Find(parent, block_tokens);
    if (node < 0) node = index_.Insert(parent, block_tokens);
    if (node < 0) return;  // every node's block is in use; a later batch tries again
    table.keys_.push_back(index_.key(node));
    for (size_t group = 0; group < pools_.size(); ++group) {
      int32_t& own = table.lists_[group][i];
      int32_t& known = index_.block(node, static_cast<int32_t>(group));
      if (own < 0 || own == known) continue;
      if (known < 0) {
        if (pools_[group].node(own) >= 0) continue;
        known = own;
        pools_[group].Remember(own, node);
      } else {  // somebody computed the same: one of the two will do
        pools_[group].Refer(known);
        pools_[group].Release(own);
        own = known;
      }
    }
  }
}

void KvCache::SlideWindows(BlockTable& table, int64_t computed) noexcept {
  for (size_t group = 0; group < pools_.size(); ++group) {
    std::vector<int32_t>& list = table.lists_[group];
    for (auto i = static_cast<size_t>(FirstNeeded(group, computed)); i-- > 0;) {
      if (list[i] < 0) break;  // what is before it went earlier
      pools_[group].Release(list[i]);
      list[i] = -1;
    }
  }
}

int64_t KvCache::Adopt(BlockTable& table, absl::Span<const int32_t> tokens) noexcept {
  if (!share_prefixes_ || tokens.empty()) return 0;
  const auto size = static_cast<size_t>(block_tokens_);
  const size_t most = (tokens.size() - 1) / size;
  int64_t found = 0;
  // The walk leaves its nodes in list 0 for a moment: there is room, and nothing to allocate.
  std::vector<int32_t>& nodes = table.lists_[0];
  table.keys_.clear();
  for (size_t i = 0; i < most; ++i) {
    const PrefixKey parent = i == 0 ? kEmptyPrefix : table.keys_[i - 1];
    const int32_t node = index_.Find(parent, tokens.subspan(i * size, size));
    if (node < 0) break;
    nodes.push_back(node);
    table.keys_.push_back(index_.key(node));
    ++found;
  }
  // Shortened until every group has what a query behind it looks at.
  for (bool whole = false; !whole;) {
    whole = true;
    for (size_t group = 0; group < pools_.size() && whole; ++group) {
      for (int64_t i = FirstNeeded(group, found * block_tokens_); i < found; ++i) {
        if (index_.block(nodes[static_cast<size_t>(i)], static_cast<int32_t>(group)) >= 0) continue;
        found = i;
        whole = false;
        break;
      }
    }
  }
  for (size_t group = pools_.size(); group-- > 0;) {  // list 0 last: it holds the nodes
    const int64_t needed = FirstNeeded(group, found * block_tokens_);
    std::vector<int32_t>& list = table.lists_[group];
    list.resize(static_cast<size_t>(found), -1);
    for (size_t i = 0; i < static_cast<size_t>(found); ++i) {
      const int32_t node = nodes[i];
      const int32_t block =
          static_cast<int64_t>(i) < needed ? -1 : index_.block(node, static_cast<int32_t>(group));
      if (block >= 0) pools_[group].Refer(block);
      list[i] = block;
    }
  }
  table.keys_.resize(static_cast<size_t>(found));
  return found * block_tokens_;
}

void KvCache::Share(const BlockTable& from, int64_t tokens, BlockTable& to) noexcept {
  const auto count = static_cast<size_t>(BlocksFor(tokens));
  for (size_t group = 0; group < pools_.size(); ++group) {
    const BlockTable::Replaced& replaced = from.replaced_[group];
    for (size_t i = 0; i < count; ++i) {
      // What a batch in flight replaces may not be copied yet.
      const bool old = replaced.block >= 0 && static_cast<size_t>(replaced.index) == i;
      const int32_t block = old ? replaced.block : from.lists_[group][i];
      if (block >= 0) pools_[group].Refer(block);
      to.lists_[group].push_back(block);
    }
  }
  const size_t full = std::min(from.keys_.size(), static_cast<size_t>(tokens / block_tokens_));
  to.root_ = count == 0 ? 0 : from.root_;
  to.keys_.assign(from.keys_.begin(), from.keys_.begin() + static_cast<std::ptrdiff_t>(full));
}

bool KvCache::Receive(BlockTable& table, int64_t tokens) noexcept {
  const int64_t count = BlocksFor(tokens);
  if (count > total_blocks()) return false;
  for (size_t group = 0; group < pools_.size(); ++group) {
    if (pools_[group].available() < count - FirstNeeded(group, tokens)) return false;
  }
  for (size_t group = 0; group < pools_.size(); ++group) {
    std::vector<int32_t>& list = table.lists_[group];
    list.assign(static_cast<size_t>(FirstNeeded(group, tokens)), -1);
    while (static_cast<int64_t>(list.size()) < count) list.push_back(Take(group));
  }
  // Names that stand for no node: what is registered behind them is found through this table's forks only.
  table.root_ = index_.MakeKey();
  table.keys_.clear();
  for (int64_t i = 0; i < tokens / block_tokens_; ++i) table.keys_.push_back(index_.MakeKey());
  return true;
}

void KvCache::Disown(BlockTable& table, int64_t tokens) noexcept {
  for (auto i = static_cast<size_t>(tokens / block_tokens_); i < table.lists_[primary_].size(); ++i) {
    const int32_t block = table.lists_[primary_][i];
    if (block >= 0 && pools_[primary_].node(block) >= 0) DropNode(pools_[primary_].node(block));
  }
}

void KvCache::Free() noexcept {
  regions_.reset();
  for (CacheView& view : views_) view.data = nullptr;
}

}  // namespace tessera

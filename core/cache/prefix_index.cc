#include "core/cache/prefix_index.h"

#include <algorithm>
#include <bit>

namespace tessera {

namespace {

size_t BucketCount(size_t nodes) { return std::bit_ceil(std::max<size_t>(2 * nodes, 2)); }

}  // namespace

uint64_t PrefixIndex::HeapBytes(uint64_t most_nodes, uint64_t groups, uint64_t block_tokens) {
  const uint64_t node_bytes = sizeof(Node) + (block_tokens + groups + 1) * sizeof(int32_t);
  return most_nodes * node_bytes + BucketCount(most_nodes) * sizeof(int32_t);
}

PrefixIndex::PrefixIndex(int32_t most_nodes, int32_t groups, int32_t block_tokens)
    : groups_(groups), block_tokens_(static_cast<size_t>(block_tokens)) {
  const auto nodes = static_cast<size_t>(most_nodes);
  nodes_.resize(nodes);
  tokens_.resize(nodes * block_tokens_);
  blocks_.assign(nodes * static_cast<size_t>(groups), -1);
  free_.reserve(nodes);
  for (int32_t node = most_nodes - 1; node >= 0; --node) free_.push_back(node);
  buckets_.assign(BucketCount(nodes), -1);
}

size_t PrefixIndex::BucketOf(PrefixKey parent, const int32_t* tokens) const noexcept {
  uint64_t hash = parent * 0x9E3779B97F4A7C15u;
  for (size_t i = 0; i < block_tokens_; ++i) {
    hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 0xFF51AFD7ED558CCDu;
    hash ^= hash >> 32;
  }
  return static_cast<size_t>(hash) & (buckets_.size() - 1);
}

int32_t PrefixIndex::Find(PrefixKey parent, absl::Span<const int32_t> tokens) const noexcept {
  int32_t node = buckets_[BucketOf(parent, tokens.data())];
  while (node >= 0) {
    const Node& at = nodes_[static_cast<size_t>(node)];
    if (at.parent == parent && std::equal(tokens.begin(), tokens.end(), TokensOf(node))) break;
    node = at.next;
  }
  return node;
}

int32_t PrefixIndex::Insert(PrefixKey parent, absl::Span<const int32_t> tokens) noexcept {
  if (free_.empty()) return -1;
  const int32_t node = free_.back();
  free_.pop_back();
  std::copy(tokens.begin(), tokens.end(), TokensOf(node));
  int32_t& bucket = buckets_[BucketOf(parent, tokens.data())];
  nodes_[static_cast<size_t>(node)] = {parent, next_key_++, bucket};
  bucket = node;
  return node;
}

void PrefixIndex::Remove(int32_t node) noexcept {
  const Node& gone = nodes_[static_cast<size_t>(node)];
  int32_t* link = &buckets_[BucketOf(gone.parent, TokensOf(node))];
  while (*link != node) link = &nodes_[static_cast<size_t>(*link)].next;
  *link = gone.next;
  for (int32_t group = 0; group < groups_; ++group) block(node, group) = -1;
  free_.push_back(node);
}

}  // namespace tessera

// A saved session as bytes: the format, its checks, and what a state must agree with before anyone uses it.
// Pure functions over bytes; knows no engine and no blocks.
//
//   header   128 bytes: magic, version, byte order, sizes, hashes of model and tokenizer, arithmetic, layout
//            of the cache; closed by a hash of its own, so that a file's beginning can be trusted alone
//   groups   one StateGroup for each group of layers; none in a state without a cache
//   tokens   int32 [token_count]
//   rows     for each group: [layer][keys, values][kv_heads][first_token, cached_tokens)[row_bytes]
//   hash     16 bytes, XXH3-128 of all before
//
// Numbers stand in the byte order of the machine that wrote them; another order is refused.
#ifndef TESSERA_CORE_ENGINE_SESSION_STATE_H_
#define TESSERA_CORE_ENGINE_SESSION_STATE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/base/content_hash.h"

namespace tessera {

inline constexpr uint32_t kStateVersion = 1;
inline constexpr size_t kStateHeaderBytes = 128;
inline constexpr size_t kLongestArithmetic = 24;
inline constexpr int32_t kNoCacheType = -1;

// One group of layers in the cache, as it was saved.
struct StateGroup {
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_size = 0;
  int32_t window_tokens = 0;
  uint64_t row_bytes = 0;    // the key (or value) of one token and head
  uint64_t first_token = 0;  // whose rows are there: a window keeps the last ones only
  bool operator==(const StateGroup& other) const = default;
};

// What a state says of itself, and what an engine would write.
struct StateDescription {
  uint64_t token_count = 0;
  uint64_t cached_tokens = 0;  // of these, with keys and values; 0: a state without a cache
  ContentHash model;
  ContentHash tokenizer;
  // What follows is empty in a state without a cache.
  std::string arithmetic;             // what computed the cache: see Backend::arithmetic
  int32_t cache_type = kNoCacheType;  // a CacheType
  int32_t block_tokens = 0;
  std::vector<StateGroup> groups;
};

// Bytes of a group's rows, and of the whole state. kLimitExceeded where that is no size.
absl::StatusOr<size_t> StateRowsBytes(const StateGroup& group, uint64_t cached_tokens);
absl::StatusOr<size_t> StateBytes(const StateDescription& description);

// A state is written in three parts: all but rows and hash, the rows by whoever has them, the hash.
// state [StateBytes]; returns where the rows begin.
uint8_t* BeginState(const StateDescription& description, absl::Span<const int32_t> tokens, uint8_t* state);
void SealState(absl::Span<uint8_t> state);

struct StateView {
  StateDescription description;
  std::vector<int32_t> tokens;
  std::vector<absl::Span<const uint8_t>> rows;  // [group], in the bytes that were read
};

// The beginning of a state, at least its header: what it says of itself but for the groups, and in
// *size_bytes how long the whole is. kCorrupt with the byte offset; kUnsupported for another version or byte
// order.
absl::StatusOr<StateDescription> ReadStateHeader(absl::Span<const uint8_t> bytes, uint64_t* size_bytes);
// A whole state, every byte of it checked.
absl::StatusOr<StateView> ReadState(absl::Span<const uint8_t> bytes);

// kMismatch, naming what differs and both values, unless a session of `state` can go on where a session would
// be saved as `wanted`. `with_cache`: its rows are wanted too.
absl::Status CheckState(const StateDescription& state, const StateDescription& wanted, bool with_cache);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_SESSION_STATE_H_

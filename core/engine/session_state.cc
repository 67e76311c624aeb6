#include "core/engine/session_state.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/escaping.h"
#include "core/base/checked.h"
#include "core/base/status.h"
#include "core/cache/cache_view.h"

namespace tessera {
namespace {

constexpr char kPlace[] = "state";
constexpr char kMagic[8] = {'T', 'S', 'R', 'S', 'T', 'A', 'T', 'E'};
constexpr uint32_t kByteOrder = 0x01020304;
constexpr size_t kHashBytes = sizeof(ContentHash::bytes);

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint64_t size_bytes;
  uint64_t token_count;
  uint64_t cached_tokens;
  ContentHash model;
  ContentHash tokenizer;
  char arithmetic[kLongestArithmetic];  // filled up with NUL
  int32_t cache_type;
  int32_t block_tokens;
  uint32_t group_count;
  uint32_t reserved;
};
static_assert(sizeof(Header) + kHashBytes == kStateHeaderBytes && sizeof(StateGroup) == 32);

absl::Status Wrong(size_t offset, absl::string_view message) {
  return Corrupt(kPlace, absl::StrCat("at byte ", offset, ": ", message));
}

std::string Hex(const ContentHash& hash) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size()));
}

bool HashStandsBehind(absl::Span<const uint8_t> bytes, size_t size) {
  return std::memcmp(HashOf(bytes.data(), size).bytes.data(), bytes.data() + size, kHashBytes) == 0;
}

std::optional<uint64_t> RowsBytes(const StateGroup& group, uint64_t cached_tokens) {
  std::optional<uint64_t> bytes = group.row_bytes;
  for (const uint64_t factor : {uint64_t{2}, static_cast<uint64_t>(group.layers),
                                static_cast<uint64_t>(group.kv_heads), cached_tokens - group.first_token}) {
    if (bytes) bytes = CheckedMultiply(*bytes, factor);
  }
  return bytes;
}

// Negative numbers and empty ranges never come here from an engine, but from bytes they may.
absl::Status CheckGroup(const StateGroup& group, uint64_t cached_tokens, size_t offset) {
  if (group.layers <= 0 || group.kv_heads < 0 || group.head_size <= 0 || group.window_tokens < 0) {
    return Wrong(offset, "a group of layers with impossible numbers");
  }
  if (group.first_token > cached_tokens) {
    return Wrong(offset, absl::StrCat("rows from token ", group.first_token, " on, of ", cached_tokens));
  }
  return absl::OkStatus();
}

absl::Status CheckHeader(const Header& header) {
  if (header.cached_tokens > header.token_count) {
    return Wrong(offsetof(Header, cached_tokens),
                 absl::StrCat(header.cached_tokens, " tokens cached of ", header.token_count));
  }
  if ((header.cached_tokens == 0) != (header.group_count == 0)) {
    return Wrong(offsetof(Header, group_count),
                 absl::StrCat(header.group_count, " groups for ", header.cached_tokens, " cached tokens"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Header> TakeHeader(absl::Span<const uint8_t> bytes) {
  Header header;
  const size_t known = std::min(bytes.size(), sizeof(header));
  if (known != 0) std::memcpy(&header, bytes.data(), known);
  if (known < sizeof(kMagic) || std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Wrong(0, "this is no saved session");
  }
  if (bytes.size() < kStateHeaderBytes) {
    return Wrong(bytes.size(), absl::StrCat("it ends in its header of ", kStateHeaderBytes, " bytes"));
  }
  if (header.byte_order != kByteOrder) return Unsupported(kPlace, "it has another machine's byte order");
  if (header.version != kStateVersion) {
    return Unsupported(
        kPlace, absl::StrCat("it has version ", header.version, "; this library reads ", kStateVersion));
  }
  if (!HashStandsBehind(bytes, sizeof(header))) return Wrong(0, "the header is damaged");
  TSR_RETURN_IF_ERROR(CheckHeader(header));
  return header;
}

StateDescription Describe(const Header& header) {
  StateDescription description;
  description.token_count = header.token_count;
  description.cached_tokens = header.cached_tokens;
  description.model = header.model;
  description.tokenizer = header.tokenizer;
  description.arithmetic.assign(header.arithmetic, strnlen(header.arithmetic, kLongestArithmetic));
  description.cache_type = header.cache_type;
  description.block_tokens = header.block_tokens;
  return description;
}

absl::Status TakeGroups(absl::Span<const uint8_t> bytes, uint32_t count, StateDescription* description) {
  for (uint32_t i = 0; i < count; ++i) {
    const size_t offset = kStateHeaderBytes + i * sizeof(StateGroup);
    if (bytes.size() - offset < sizeof(StateGroup)) return Wrong(offset, "it ends in its groups");
    StateGroup group;
    std::memcpy(&group, bytes.data() + offset, sizeof(group));
    TSR_RETURN_IF_ERROR(CheckGroup(group, description->cached_tokens, offset));
    description->groups.push_back(group);
  }
  return absl::OkStatus();
}

absl::Status Differs(absl::string_view what, absl::string_view has, absl::string_view wanted) {
  return Mismatch(kPlace, absl::StrCat(what, " is ", has, " there and ", wanted, " here"));
}

absl::Status CheckGroupLayout(size_t index, const StateGroup& state, const StateGroup& wanted) {
  const auto text = [](const StateGroup& group) {
    return absl::StrCat(group.layers, " layers of ", group.kv_heads, " heads of ", group.head_size, " (",
                        group.row_bytes, " bytes), window ", group.window_tokens, ", from token ",
                        group.first_token);
  };
  if (state == wanted) return absl::OkStatus();
  return Differs(absl::StrCat("group ", index, " of the cache"), text(state), text(wanted));
}

}  // namespace

absl::StatusOr<size_t> StateRowsBytes(const StateGroup& group, uint64_t cached_tokens) {
  const std::optional<uint64_t> bytes = RowsBytes(group, cached_tokens);
  if (!bytes || *bytes > std::numeric_limits<size_t>::max()) {
    return LimitExceeded(kPlace, "its rows exceed the address space");
  }
  return static_cast<size_t>(*bytes);
}

absl::StatusOr<size_t> StateBytes(const StateDescription& description) {
  std::optional<uint64_t> total = CheckedMultiply(description.token_count, sizeof(int32_t));
  if (total) total = CheckedAdd(*total, kStateHeaderBytes + kHashBytes);
  if (total) total = CheckedAdd(*total, description.groups.size() * sizeof(StateGroup));
  for (const StateGroup& group : description.groups) {
    const std::optional<uint64_t> rows = RowsBytes(group, description.cached_tokens);
    total = total && rows ? CheckedAdd(*total, *rows) : std::nullopt;
  }
  if (!total || *total > std::numeric_limits<size_t>::max()) {
    return LimitExceeded(kPlace, "its size exceeds the address space");
  }
  return static_cast<size_t>(*total);
}

uint8_t* BeginState(const StateDescription& description, absl::Span<const int32_t> tokens, uint8_t* state) {
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kStateVersion;
  header.byte_order = kByteOrder;
  header.size_bytes = *StateBytes(description);
  header.token_count = description.token_count;
  header.cached_tokens = description.cached_tokens;
  header.model = description.model;
  header.tokenizer = description.tokenizer;
  std::memcpy(header.arithmetic, description.arithmetic.data(),
              std::min(description.arithmetic.size(), kLongestArithmetic));
  header.cache_type = description.cache_type;
  header.block_tokens = description.block_tokens;
  header.group_count = static_cast<uint32_t>(description.groups.size());

  uint8_t* at = state;
  const auto put = [&at](const void* data, size_t size) {
    if (size != 0) std::memcpy(at, data, size);
    at += size;
  };
  put(&header, sizeof(header));
  put(HashOf(state, sizeof(header)).bytes.data(), kHashBytes);
  put(description.groups.data(), description.groups.size() * sizeof(StateGroup));
  put(tokens.data(), tokens.size() * sizeof(int32_t));
  return at;
}

void SealState(absl::Span<uint8_t> state) {
  const size_t size = state.size() - kHashBytes;
  std::memcpy(state.data() + size, HashOf(state.data(), size).bytes.data(), kHashBytes);
}

absl::StatusOr<StateDescription> ReadStateHeader(absl::Span<const uint8_t> bytes, uint64_t* size_bytes) {
  TSR_ASSIGN_OR_RETURN(const Header header, TakeHeader(bytes));
  *size_bytes = header.size_bytes;
  return Describe(header);
}

absl::StatusOr<StateView> ReadState(absl::Span<const uint8_t> bytes) {
  TSR_ASSIGN_OR_RETURN(const Header header, TakeHeader(bytes));
  if (header.size_bytes != bytes.size()) {
    return Wrong(std::min<uint64_t>(bytes.size(), header.size_bytes),
                 absl::StrCat("it has ", bytes.size(), " bytes and should have ", header.size_bytes));
  }
  StateView view;
  view.description = Describe(header);
  TSR_RETURN_IF_ERROR(TakeGroups(bytes, header.group_count, &view.description));
  const absl::StatusOr<size_t> size = StateBytes(view.description);
  if (!size.ok() || *size != bytes.size()) {
    return Wrong(offsetof(Header, size_bytes), "its parts do not add up to its size");
  }
  if (!HashStandsBehind(bytes, bytes.size() - kHashBytes)) {
    return Wrong(bytes.size() - kHashBytes, "the hash of its bytes is another: it was changed");
  }
  size_t at = kStateHeaderBytes + view.description.groups.size() * sizeof(StateGroup);
  view.tokens.resize(static_cast<size_t>(header.token_count));
  if (!view.tokens.empty()) {
    std::memcpy(view.tokens.data(), bytes.data() + at, view.tokens.size() * sizeof(int32_t));
  }
  at += view.tokens.size() * sizeof(int32_t);
  for (const StateGroup& group : view.description.groups) {
    TSR_ASSIGN_OR_RETURN(const size_t rows, StateRowsBytes(group, header.cached_tokens));
    view.rows.push_back(bytes.subspan(at, rows));
    at += rows;
  }
  return view;
}

absl::Status CheckState(const StateDescription& state, const StateDescription& wanted, bool with_cache) {
  if (state.model != wanted.model) return Differs("the model's hash", Hex(state.model), Hex(wanted.model));
  if (state.tokenizer != wanted.tokenizer) {
    return Differs("the tokenizer's hash", Hex(state.tokenizer), Hex(wanted.tokenizer));
  }
  if (!with_cache || state.cached_tokens == 0) return absl::OkStatus();
  if (state.arithmetic != wanted.arithmetic) {
    return Differs("the arithmetic", absl::StrCat("'", absl::CEscape(state.arithmetic), "'"),
                   absl::StrCat("'", wanted.arithmetic, "'"));
  }
  if (state.cache_type != wanted.cache_type) {
    return Differs("the cache's type", CacheTypeName(state.cache_type), CacheTypeName(wanted.cache_type));
  }
  if (state.block_tokens != wanted.block_tokens) {
    return Differs("a block's size", absl::StrCat(state.block_tokens, " tokens"),
                   absl::StrCat(wanted.block_tokens, " tokens"));
  }
  if (state.groups.size() != wanted.groups.size()) {
    return Differs("the number of the cache's groups", absl::StrCat(state.groups.size()),
                   absl::StrCat(wanted.groups.size()));
  }
  for (size_t i = 0; i < state.groups.size(); ++i) {
    TSR_RETURN_IF_ERROR(CheckGroupLayout(i, state.groups[i], wanted.groups[i]));
  }
  return absl::OkStatus();
}

}  // namespace tessera

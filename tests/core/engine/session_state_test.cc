// The bytes of a saved session: what was written is read, and whatever is not as it was written is refused.
#include "core/engine/session_state.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>

#include "core/base/status.h"
#include "core/cache/cache_view.h"

namespace tessera {
namespace {

StateDescription Small() {
  StateDescription description;
  description.token_count = 5;
  description.cached_tokens = 4;
  description.model = HashOf("model", 5);
  description.tokenizer = HashOf("tokenizer", 9);
  description.arithmetic = "some arithmetic";
  description.cache_type = static_cast<int32_t>(CacheType::kF16);
  description.block_tokens = 2;
  description.groups = {{2, 1, 3, 0, 6, 0}, {1, 2, 2, 3, 4, 2}};
  return description;
}

const std::vector<int32_t> kTokens = {7, 1, 299, 0, 65};

std::vector<uint8_t> Write(const StateDescription& description, absl::Span<const int32_t> tokens) {
  std::vector<uint8_t> state(*StateBytes(description), 0xEE);
  uint8_t* const rows = BeginState(description, tokens, state.data());
  uint8_t* const end = state.data() + state.size() - 16;
  std::iota(rows, end, uint8_t{1});
  SealState(absl::MakeSpan(state));
  return state;
}

TEST(SessionState, ReadsWhatWasWritten) {
  const StateDescription written = Small();
  const std::vector<uint8_t> state = Write(written, kTokens);
  EXPECT_EQ(state.size(), 128u + 2 * 32 + 5 * 4 + 2 * 2 * 1 * 4 * 6 + 1 * 2 * 2 * 2 * 4 + 16);
  const auto read = ReadState(state);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens, kTokens);
  EXPECT_EQ(read->description.token_count, 5u);
  EXPECT_EQ(read->description.cached_tokens, 4u);
  EXPECT_EQ(read->description.groups, written.groups);
  EXPECT_TRUE(CheckState(read->description, written, true).ok());
  ASSERT_EQ(read->rows.size(), 2u);
  EXPECT_EQ(read->rows[0].size(), 96u);
  EXPECT_EQ(read->rows[0][0], 1);
  EXPECT_EQ(read->rows[1].size(), 32u);
  EXPECT_EQ(read->rows[1][0], 97);
}

TEST(SessionState, WithoutACacheHoldsTokensAlone) {
  StateDescription description;
  description.token_count = 5;
  description.model = HashOf("model", 5);
  std::vector<uint8_t> state = Write(description, kTokens);
  EXPECT_EQ(state.size(), 128u + 20 + 16);
  const auto read = ReadState(state);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens, kTokens);
  EXPECT_TRUE(read->rows.empty());
  description.token_count = 0;
  EXPECT_TRUE(ReadState(Write(description, {})).ok());
}

TEST(SessionState, EveryFlippedBitIsRefused) {
  const std::vector<uint8_t> state = Write(Small(), kTokens);
  for (size_t byte = 0; byte < state.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<uint8_t> changed = state;
      changed[byte] ^= static_cast<uint8_t>(1 << bit);
      const ErrorCode code = CodeOf(ReadState(changed).status());
      const bool version_or_order = byte >= 8 && byte < 16;
      EXPECT_EQ(code, version_or_order ? ErrorCode::kUnsupported : ErrorCode::kCorrupt) << byte << " " << bit;
      uint64_t size = 0;
      EXPECT_EQ(ReadStateHeader(changed, &size).ok(), byte >= kStateHeaderBytes) << byte << " " << bit;
    }
  }
}

TEST(SessionState, EveryOtherLengthIsRefused) {
  const std::vector<uint8_t> state = Write(Small(), kTokens);
  for (size_t size = 0; size < state.size() + 40; ++size) {
    if (size == state.size()) continue;
    std::vector<uint8_t> other = state;
    other.resize(size, 0);
    EXPECT_EQ(CodeOf(ReadState(other).status()), ErrorCode::kCorrupt) << size;
    uint64_t whole = 0;
    EXPECT_EQ(ReadStateHeader(other, &whole).ok(), size >= kStateHeaderBytes) << size;
  }
}

// A header that says something else, sealed again: what damages by accident do not do, but people can.
TEST(SessionState, NumbersThatCannotBeAreRefusedThoughTheHashesFit) {
  const std::function<void(StateDescription&)> changes[] = {
      [](StateDescription& d) { d.cached_tokens = 6; },
      [](StateDescription& d) { d.groups[0].layers = -2; },
      [](StateDescription& d) { d.groups[0].layers = 0; },
      [](StateDescription& d) { d.groups[1].head_size = 0; },
      [](StateDescription& d) { d.groups[1].kv_heads = -1; },
      [](StateDescription& d) { d.groups[1].window_tokens = -1; },
      [](StateDescription& d) { d.groups[0].first_token = 5; },
      [](StateDescription& d) { d.groups[0].row_bytes = uint64_t{1} << 62; },
      [](StateDescription& d) { d.token_count = uint64_t{1} << 62; },
      [](StateDescription& d) { d.token_count = d.cached_tokens = 100; },
      [](StateDescription& d) { d.cached_tokens = 0; },
      [](StateDescription& d) { d.groups.clear(); },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    StateDescription description = Small();
    const size_t size = *StateBytes(description);
    changes[i](description);
    // The header as BeginState makes it, of this description; sizes that do not fit stand in no file of ours.
    StateDescription sized = Small();
    std::vector<uint8_t> state(size, 1);
    BeginState(sized, kTokens, state.data());
    const auto patch = [&](size_t offset, uint64_t value, size_t bytes) {
      std::memcpy(state.data() + offset, &value, bytes);
    };
    patch(24, description.token_count, 8);
    patch(32, description.cached_tokens, 8);
    patch(112 - 8, description.groups.size(), 4);
    std::memcpy(state.data() + 112, HashOf(state.data(), 112).bytes.data(), 16);
    if (!description.groups.empty()) std::memcpy(state.data() + 128, description.groups.data(), 64);
    SealState(absl::MakeSpan(state));
    EXPECT_EQ(CodeOf(ReadState(state).status()), ErrorCode::kCorrupt) << i;
  }
}

TEST(SessionState, ADescriptionTooLargeForMemoryHasNoSize) {
  StateDescription description = Small();
  description.token_count = uint64_t{1} << 62;
  EXPECT_EQ(CodeOf(StateBytes(description).status()), ErrorCode::kLimitExceeded);
  description = Small();
  description.groups[0].row_bytes = uint64_t{1} << 62;
  EXPECT_EQ(CodeOf(StateBytes(description).status()), ErrorCode::kLimitExceeded);
}

TEST(SessionState, WhateverDiffersIsNamedAndRefused) {
  struct Change {
    const char* what;
    std::function<void(StateDescription&)> make;
    bool without_cache;  // it matters for a session's tokens too
  };
  const Change changes[] = {
      {"the model's hash", [](StateDescription& d) { d.model = HashOf("other", 5); }, true},
      {"the tokenizer's hash", [](StateDescription& d) { d.tokenizer = HashOf("other", 5); }, true},
      {"the arithmetic", [](StateDescription& d) { d.arithmetic = "another"; }, false},
      {"the cache's type", [](StateDescription& d) { d.cache_type = 0; }, false},
      {"a block's size", [](StateDescription& d) { d.block_tokens = 16; }, false},
      {"the number of the cache's groups", [](StateDescription& d) { d.groups.pop_back(); }, false},
      {"group 0 of the cache", [](StateDescription& d) { d.groups[0].layers = 3; }, false},
      {"group 1 of the cache", [](StateDescription& d) { d.groups[1].kv_heads = 1; }, false},
      {"group 1 of the cache", [](StateDescription& d) { d.groups[1].head_size = 1; }, false},
      {"group 1 of the cache", [](StateDescription& d) { d.groups[1].window_tokens = 8; }, false},
      {"group 1 of the cache", [](StateDescription& d) { d.groups[1].row_bytes = 8; }, false},
      {"group 1 of the cache", [](StateDescription& d) { d.groups[1].first_token = 0; }, false},
  };
  for (const Change& change : changes) {
    StateDescription state = Small();
    change.make(state);
    const absl::Status refused = CheckState(state, Small(), true);
    EXPECT_EQ(CodeOf(refused), ErrorCode::kMismatch) << change.what;
    EXPECT_NE(refused.message().find(change.what), absl::string_view::npos) << refused.message();
    EXPECT_EQ(CheckState(state, Small(), false).ok(), !change.without_cache) << change.what;
  }
  EXPECT_TRUE(CheckState(Small(), Small(), true).ok());
}

}  // namespace
}  // namespace tessera

// The n-th allocation fails, for every n: what is left behind must be as it was, and nothing may leak.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "core/text/bpe_tokenizer.h"
#include "tests/doubles/tiny_model.h"

namespace {

int64_t g_until_failure = -1;  // allocations that still succeed; -1: all
int64_t g_live = 0;            // allocations not yet freed

void* Allocate(size_t size) {
  if (g_until_failure == 0) throw std::bad_alloc();
  if (g_until_failure > 0) --g_until_failure;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  ++g_live;
  return memory;
}

void Free(void* memory) {
  if (memory != nullptr) --g_live;
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete[](void* memory, size_t) noexcept { Free(memory); }

namespace tessera {
namespace {

// Runs `work` with the n-th allocation failing, for n = 0, 1, ... until it gets through; returns that n.
template <typename Work>
int64_t FailEachAllocation(const Work& work) {
  for (int64_t n = 0;; ++n) {
    const int64_t live_before = g_live;
    bool failed = false;
    g_until_failure = n;
    try {
      work();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    g_until_failure = -1;
    if (!failed) return n;
    EXPECT_EQ(g_live, live_before) << "allocation " << n << " failed and something leaked";
  }
}

TEST(TokenizerAllocation, BuildingLeaksNothingWhicheverAllocationFails) {
  std::vector<std::string> tokens = TinyTokens();
  tokens.emplace_back("<tool>");
  const std::vector<std::string> merges = TinyMerges();
  BpeVocabulary vocabulary;
  vocabulary.tokens.assign(tokens.begin(), tokens.end());
  vocabulary.merges.assign(merges.begin(), merges.end());
  vocabulary.kinds.assign(tokens.size(), 1);
  vocabulary.kinds[0] = 3;
  vocabulary.kinds.back() = 4;
  vocabulary.pre_tokenizer = "smollm";
  const int64_t allocations = FailEachAllocation([&] { ASSERT_TRUE(BpeTokenizer::Create(vocabulary).ok()); });
  EXPECT_GT(allocations, 5);
}

TEST(TokenizerAllocation, TokenizingLeavesTheTokensAsTheyWere) {
  const std::vector<std::string> tokens = TinyTokens();
  const std::vector<std::string> merges = TinyMerges();
  BpeVocabulary vocabulary;
  vocabulary.tokens.assign(tokens.begin(), tokens.end());
  vocabulary.merges.assign(merges.begin(), merges.end());
  vocabulary.pre_tokenizer = "gpt-2";
  const auto tokenizer = BpeTokenizer::Create(vocabulary);
  ASSERT_TRUE(tokenizer.ok());

  std::string text;
  for (int i = 0; i < 50; ++i) text += "hello the quickest <|im_end|> of 123 words ";
  std::vector<int32_t> expected = {7};
  ASSERT_TRUE((*tokenizer)->Tokenize(text, {}, &expected).ok());
  const int64_t allocations = FailEachAllocation([&] {
    std::vector<int32_t> out = {7};
    try {
      ASSERT_TRUE((*tokenizer)->Tokenize(text, {}, &out).ok());
    } catch (const std::bad_alloc&) {
      EXPECT_TRUE(out.size() == 1 && out[0] == 7);
      throw;
    }
    EXPECT_TRUE(out == expected);
  });
  EXPECT_GT(allocations, 5);
}

TEST(TokenizerAllocation, AnErrorWithoutMemoryIsAThrowAndNothingElse) {
  const std::vector<std::string> tokens = TinyTokens();
  BpeVocabulary vocabulary;
  vocabulary.tokens.assign(tokens.begin(), tokens.end());
  vocabulary.pre_tokenizer = "gpt-2";
  const auto tokenizer = BpeTokenizer::Create(vocabulary);
  ASSERT_TRUE(tokenizer.ok());
  FailEachAllocation([&] {
    std::vector<int32_t> out;
    EXPECT_FALSE((*tokenizer)->Tokenize("\xFF", {}, &out).ok());
  });
}

}  // namespace
}  // namespace tessera

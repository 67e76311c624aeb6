// Finding whole tokens in a text, against a search that tries every token at every place.
#include "core/text/added_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace tessera {
namespace {

AddedTokens::Match SlowFind(const std::vector<std::string>& tokens, absl::string_view text, size_t offset) {
  for (; offset < text.size(); ++offset) {
    AddedTokens::Match best = {offset, 0, -1};
    for (size_t i = 0; i < tokens.size(); ++i) {
      const std::string& token = tokens[i];
      if (!token.empty() && token.size() >= best.length && text.substr(offset, token.size()) == token) {
        best = {offset, token.size(), static_cast<int32_t>(i)};
      }
    }
    if (best.token >= 0) return best;
  }
  return {text.size(), 0, -1};
}

std::string RandomString(std::mt19937* random, size_t most) {
  constexpr char kBytes[] = {'<', '|', 'a', '\xFF'};  // few, so that tokens begin and contain each other
  std::string text;
  for (size_t left = (*random)() % (most + 1); left > 0; --left) text.push_back(kBytes[(*random)() % 4]);
  return text;
}

TEST(AddedTokens, FindsTheLeftmostAndOfThoseTheLongest) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> tokens;
    for (size_t left = random() % 12; left > 0; --left) tokens.push_back(RandomString(&random, 6));
    AddedTokens added;
    for (size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_TRUE(added.Add(tokens[i], static_cast<int32_t>(i)).ok());
    }
    added.Finish();
    const std::string text = RandomString(&random, 40);
    for (size_t offset = 0; offset <= text.size(); ++offset) {
      const AddedTokens::Match expected = SlowFind(tokens, text, offset);
      const AddedTokens::Match match = added.Find(text, offset);
      ASSERT_EQ(match.offset, expected.offset);
      ASSERT_EQ(match.length, expected.length);
      ASSERT_EQ(match.token, expected.token);
    }
  }
}

TEST(AddedTokens, ATokenThatWouldMakeSearchingSlowIsRefused) {
  AddedTokens added;
  const std::string longest(AddedTokens::kMostBytes, 'x');
  EXPECT_TRUE(added.Add(longest, 0).ok());
  EXPECT_FALSE(added.Add(longest + "x", 1).ok());
}

}  // namespace
}  // namespace tessera

// Merging against the definition: again and again, the best pair in the word, the leftmost of equals.
#include "core/text/merge_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace tessera {
namespace {

// A random vocabulary over a few letters, whose merges often contend for the same bytes.
struct RandomMerges {
  std::vector<std::string> tokens;
  std::vector<std::string> merges;
  std::vector<std::pair<std::string, std::string>> pairs;

  explicit RandomMerges(uint32_t seed) {
    std::mt19937 random(seed);
    for (const char c : {'a', 'b', 'c'}) tokens.emplace_back(1, c);
    std::set<std::string> known(tokens.begin(), tokens.end());
    for (int i = 0; i < 30; ++i) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      if (known.insert(left + right).second) tokens.push_back(left + right);
      pairs.emplace_back(left, right);
      merges.push_back(left + " " + right);
    }
  }

  BpeVocabulary View() const {
    BpeVocabulary vocabulary;
    vocabulary.tokens.assign(tokens.begin(), tokens.end());
    vocabulary.merges.assign(merges.begin(), merges.end());
    return vocabulary;
  }

  std::vector<std::string> SlowApply(const std::string& word) const {
    std::map<std::pair<std::string, std::string>, size_t> ranks;
    for (size_t i = 0; i < pairs.size(); ++i) ranks[pairs[i]] = i;  // of equal merges the last counts
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    while (true) {
      size_t best = parts.size();
      size_t best_rank = pairs.size();
      for (size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto found = ranks.find({parts[i], parts[i + 1]});
        if (found != ranks.end() && found->second < best_rank) {
          best = i;
          best_rank = found->second;
        }
      }
      if (best == parts.size()) return parts;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }
};

TEST(MergeTable, MergesAsTheDefinitionSays) {
  std::mt19937 random(5);
  MergeScratch scratch;
  for (uint32_t round = 0; round < 100; ++round) {
    const RandomMerges merges(round);
    const BpeVocabulary vocabulary = merges.View();
    TokenTable table;
    ASSERT_TRUE(table.Fill(vocabulary).ok());
    MergeTable merge_table;
    ASSERT_TRUE(merge_table.Fill(vocabulary, table).ok());
    for (int i = 0; i < 50; ++i) {
      std::string word;
      for (size_t left = random() % 60; left > 0; --left) word.push_back("abc"[random() % 3]);
      std::vector<int32_t> tokens;
      merge_table.Apply(word, &scratch, &tokens);
      std::vector<std::string> parts;
      for (const int32_t token : tokens) parts.push_back(merges.tokens[token]);
      ASSERT_EQ(parts, merges.SlowApply(word)) << word;
    }
  }
}

TEST(MergeTable, AByteWithoutATokenIsLeftOutAndItsNeighboursMeet) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "ab"};
  vocabulary.merges = {"a b"};
  TokenTable table;
  ASSERT_TRUE(table.Fill(vocabulary).ok());
  MergeTable merge_table;
  ASSERT_TRUE(merge_table.Fill(vocabulary, table).ok());
  MergeScratch scratch;
  std::vector<int32_t> tokens;
  merge_table.Apply("aXb", &scratch, &tokens);
  EXPECT_EQ(tokens, std::vector<int32_t>{2});
  tokens.clear();
  merge_table.Apply("XX", &scratch, &tokens);
  EXPECT_TRUE(tokens.empty());
}

TEST(MergeTable, BrokenMergesAreRefused) {
  const std::vector<absl::string_view> broken = {"ab",    "a  b", " a b", "a b ", "a ", " b",
                                                 "a b c", "",     "z a",  "a z",  "b a"};
  for (const absl::string_view merge : broken) {
    BpeVocabulary vocabulary;
    vocabulary.tokens = {"a", "b", "ab", "a ", "c"};
    vocabulary.merges = {"a b", merge};
    TokenTable table;
    ASSERT_TRUE(table.Fill(vocabulary).ok());
    MergeTable merge_table;
    const absl::Status status = merge_table.Fill(vocabulary, table);
    EXPECT_FALSE(status.ok()) << merge;
    EXPECT_NE(std::string(status.message()).find("merge 1"), std::string::npos) << status;
  }
}

TEST(MergeTable, NoMergeMayMakeASpecialToken) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "ab"};
  vocabulary.merges = {"a b"};
  for (const int64_t kind : {2, 3}) {
    vocabulary.kinds = {1, 1, kind};
    TokenTable table;
    ASSERT_TRUE(table.Fill(vocabulary).ok());
    MergeTable merge_table;
    EXPECT_FALSE(merge_table.Fill(vocabulary, table).ok());
  }
}

}  // namespace
}  // namespace tessera

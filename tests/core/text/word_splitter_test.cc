// The scanners against the words that the patterns they stand for give.
#include "core/text/word_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tessera {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Words(absl::string_view rules_name, absl::string_view text) {
  const SplitRules* rules = FindSplitRules(rules_name);
  EXPECT_NE(rules, nullptr) << rules_name;
  std::vector<std::string> words;
  WordSplitter splitter(*rules, text);
  absl::string_view word;
  while (splitter.Next(&word)) words.emplace_back(word.data(), word.size());
  return words;
}

TEST(WordSplitter, Gpt2KeepsOneSpaceWithTheWordBehindIt) {
  EXPECT_THAT(Words("gpt-2", "Hello  big world"), ElementsAre("Hello", " ", " big", " world"));
  EXPECT_THAT(Words("gpt-2", " 12 34"), ElementsAre(" 12", " 34"));
  EXPECT_THAT(Words("gpt-2", "a\n\n b"), ElementsAre("a", "\n\n", " b"));
  EXPECT_THAT(Words("gpt-2", "a\tb"), ElementsAre("a", "\t", "b"));
  EXPECT_THAT(Words("gpt-2", "end   "), ElementsAre("end", "   "));
  EXPECT_THAT(Words("gpt-2", "a ?!b"), ElementsAre("a", " ?!", "b"));
}

TEST(WordSplitter, Gpt2SplitsContractionsInLowerCaseOnly) {
  EXPECT_THAT(Words("gpt-2", "it's we'll"), ElementsAre("it", "'s", " we", "'ll"));
  EXPECT_THAT(Words("gpt-2", "IT'S"), ElementsAre("IT", "'", "S"));
  EXPECT_THAT(Words("gpt-2", "x 's"), ElementsAre("x", " '", "s"));
  EXPECT_THAT(Words("gpt-2", "'r"), ElementsAre("'", "r"));
  EXPECT_THAT(Words("gpt-2", "'"), ElementsAre("'"));
}

TEST(WordSplitter, SmollmSplitsEveryNumberCharacterBeforeAnythingElse) {
  EXPECT_THAT(Words("smollm", "a 123"), ElementsAre("a", " ", "1", "2", "3"));
  // The white space before a number is at the end of its piece, so all of it stays together.
  EXPECT_THAT(Words("smollm", "a   1"), ElementsAre("a", "   ", "1"));
  EXPECT_THAT(Words("smollm", "a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Words("smollm", "x½٣"), ElementsAre("x", "½", "٣"));
  // A number since Unicode 17, which the patterns' tables do not have yet.
  EXPECT_THAT(Words("smollm", "!\xF0\x91\xB7\xA0!"), ElementsAre("!", "\xF0\x91\xB7\xA0", "!"));
  EXPECT_THAT(Words("gpt-2", "!\xF0\x91\xB7\xA0!"), ElementsAre("!\xF0\x91\xB7\xA0!"));
}

TEST(WordSplitter, Llama3TakesThreeDigitsAndQwen2One) {
  EXPECT_THAT(Words("llama-bpe", "12345 6"), ElementsAre("123", "45", " ", "6"));
  EXPECT_THAT(Words("qwen2", "123"), ElementsAre("1", "2", "3"));
}

TEST(WordSplitter, Llama3JoinsAnyOneCharacterToTheLettersBehindIt) {
  EXPECT_THAT(Words("llama-bpe", "a\tb(c"), ElementsAre("a", "\tb", "(c"));
  EXPECT_THAT(Words("llama-bpe", "a\nb"), ElementsAre("a", "\n", "b"));
  EXPECT_THAT(Words("llama-bpe", "  x"), ElementsAre(" ", " x"));
}

TEST(WordSplitter, Llama3KeepsLineBreaksWithWhatStandsBeforeThem) {
  EXPECT_THAT(Words("llama-bpe", "f();\n\n  x"), ElementsAre("f", "();\n\n", " ", " x"));
  EXPECT_THAT(Words("llama-bpe", "a \n \n  b"), ElementsAre("a", " \n \n", " ", " b"));
  EXPECT_THAT(Words("llama-bpe", "a \t "), ElementsAre("a", " \t "));
}

TEST(WordSplitter, Llama3SplitsContractionsInAnyCase) {
  EXPECT_THAT(Words("llama-bpe", "IT'S we'Ll"), ElementsAre("IT", "'S", " we", "'Ll"));
  EXPECT_THAT(Words("llama-bpe", "x'\xC5\xBFy"), ElementsAre("x", "'\xC5\xBF", "y"));
  EXPECT_THAT(Words("llama-bpe", "o'clock"), ElementsAre("o", "'clock"));
}

TEST(WordSplitter, EmptyTextHasNoWords) { EXPECT_TRUE(Words("smollm", "").empty()); }

TEST(WordSplitter, UnknownNamesHaveNoRules) {
  EXPECT_EQ(FindSplitRules("smol"), nullptr);
  EXPECT_EQ(FindSplitRules(""), nullptr);
}

}  // namespace
}  // namespace tessera

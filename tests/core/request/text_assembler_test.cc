// From token bytes to the text that a host sees.
#include "core/request/text_assembler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace tessera {
namespace {

struct Outcome {
  std::vector<std::string> pieces;  // of each token, then of Finish when nothing stopped it
  bool stopped = false;
  std::string text() const {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return all;
  }
};

Outcome Assemble(const std::vector<std::string>& stop, const std::vector<std::string>& tokens) {
  size_t longest = 0;
  for (const std::string& token : tokens) longest = std::max(longest, token.size());
  const size_t most = TextAssembler::MostTextBytes(stop, longest);
  TextAssembler assembler(stop, longest);
  Outcome outcome;
  for (const std::string& token : tokens) {
    outcome.pieces.emplace_back(assembler.Push(token));
    EXPECT_LE(outcome.pieces.back().size(), most);
  }
  outcome.pieces.emplace_back(assembler.Finish());
  EXPECT_LE(outcome.pieces.back().size(), most);
  outcome.stopped = assembler.stopped();
  return outcome;
}

using Pieces = std::vector<std::string>;

TEST(TextAssembler, WithoutStopStringsTextGoesOutAtOnce) {
  EXPECT_EQ(Assemble({}, {"ab", "", "c"}).pieces, (Pieces{"ab", "", "c", ""}));
}

TEST(TextAssembler, ACodePointCutByTokensGoesOutWhole) {
  EXPECT_EQ(Assemble({}, {"a\xE2", "\x82",
                          "\xAC"
                          "b"})
                .pieces,
            (Pieces{"a", "",
                    "\xE2\x82\xAC"
                    "b",
                    ""}));
}

TEST(TextAssembler, AnUnfinishedCodePointAtTheEndIsReplaced) {
  EXPECT_EQ(Assemble({}, {"a\xE2\x82"}).pieces, (Pieces{"a", "\xEF\xBF\xBD"}));
}

TEST(TextAssembler, WhatMayBeginAStopStringIsHeldUntilItTurnsOutNotTo) {
  EXPECT_EQ(Assemble({"stop"}, {"xs", "t", "o", "re"}).pieces, (Pieces{"x", "", "", "store", ""}));
}

TEST(TextAssembler, AStopStringAcrossTokensEndsTheTextBeforeIt) {
  const Outcome outcome = Assemble({"stop"}, {"xs", "to", "pyz", "more"});
  EXPECT_EQ(outcome.pieces, (Pieces{"x", "", "", "", ""}));
  EXPECT_TRUE(outcome.stopped);
}

TEST(TextAssembler, AStopStringInsideOneTokenEndsTheTextBeforeIt) {
  const Outcome outcome = Assemble({"stop"}, {"before stop after"});
  EXPECT_EQ(outcome.text(), "before ");
  EXPECT_TRUE(outcome.stopped);
}

TEST(TextAssembler, HeldTextIsFlushedAtTheEnd) {
  const Outcome outcome = Assemble({"stop"}, {"a", "st"});
  EXPECT_EQ(outcome.pieces, (Pieces{"a", "", "st"}));
  EXPECT_FALSE(outcome.stopped);
}

TEST(TextAssembler, AFalseBeginMayHoldATrueOne) {
  // "aab" after "aa": the first a goes, the second may still begin it.
  EXPECT_EQ(Assemble({"aab"}, {"a", "a", "a", "b"}).text(), "a");
  EXPECT_EQ(Assemble({"abab!"}, {"aba", "bab", "!"}).text(), "ab");
}

TEST(TextAssembler, OfSeveralStopStringsTheOneThatBeginsFirstCounts) {
  EXPECT_EQ(Assemble({"cd", "bcd"}, {"abcd"}).text(), "a");
  EXPECT_EQ(Assemble({"zz", "b"}, {"ab"}).text(), "a");
  EXPECT_EQ(Assemble({"x", "yyy"}, {"a", "yy", "x"}).text(), "ayy");
}

TEST(TextAssembler, AStopStringOfSeveralCodePointsIsFoundAcrossCutBytes) {
  const Outcome outcome = Assemble({"\xE2\x82\xAC!"}, {"1", "\xE2", "\x82\xAC", "!", "2"});
  EXPECT_EQ(outcome.pieces, (Pieces{"1", "", "", "", "", ""}));
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(Assemble({"\xE2\x82\xAC!"}, {"1", "\xE2", "\x82\xAC", "?"}).text(), "1\xE2\x82\xAC?");
}

TEST(TextAssembler, AfterAStopNothingComesOutAnyMore) {
  const std::vector<std::string> stop = {"."};
  TextAssembler assembler(stop, 8);
  EXPECT_EQ(assembler.Push("a.b"), "a");
  EXPECT_EQ(assembler.Push("c"), "");
  EXPECT_EQ(assembler.Finish(), "");
}

TEST(TextAssembler, AnyCutOfATextIntoTokensGivesTheSameTextAndEveryPieceIsWholeCodePoints) {
  std::mt19937 random(1);
  const std::vector<std::string> stops[] = {{},
                                            {"aba"},
                                            {"ab", "bb"},
                                            {"\xC3\xA4"
                                             "a",
                                             "bbb"},
                                            {"aaaa", "aab", "b\xC3\xA4"}};
  const std::string alphabet[] = {"a", "b", "\xC3\xA4"};
  for (int round = 0; round < 3000; ++round) {
    const std::vector<std::string>& stop = stops[random() % 5];
    std::string text;
    for (size_t i = 0, n = random() % 30; i < n; ++i) text += alphabet[random() % 3];
    std::vector<std::string> tokens;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 4;
      tokens.push_back(text.substr(at, size));
      at += size;
    }
    const Outcome outcome = Assemble(stop, tokens);
    // As soon as one is complete, the earliest of those that are ends the text.
    std::string expected = text;
    std::string seen;
    bool stopped = false;
    for (size_t i = 0; i < tokens.size() && !stopped; ++i) {
      seen += tokens[i];
      size_t first = std::string::npos;
      for (const std::string& s : stop) first = std::min(first, seen.find(s));
      if (first == std::string::npos) continue;
      stopped = true;
      expected = seen.substr(0, first);
    }
    ASSERT_EQ(outcome.text(), expected) << text;
    ASSERT_EQ(outcome.stopped, stopped);
    for (const std::string& piece : outcome.pieces) ASSERT_EQ(FirstInvalidUtf8(piece), piece.size());
  }
}

}  // namespace
}  // namespace tessera

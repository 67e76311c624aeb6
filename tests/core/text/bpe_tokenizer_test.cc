// The whole byte-level BPE tokenizer on a vocabulary of a few hundred tokens.
#include "core/text/bpe_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "tests/core/text/golden_texts.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The tiny models' vocabulary, open to change, and some more tokens behind it.
struct Vocabulary {
  std::vector<std::string> tokens = TinyTokens();
  std::vector<std::string> merges = TinyMerges();
  BpeVocabulary view;

  Vocabulary() {
    view.kinds.assign(tokens.size(), 1);
    for (int i = 0; i < 3; ++i) view.kinds[i] = 3;
    view.pre_tokenizer = "smollm";
    view.bos = 1;
    view.eos = 2;
  }

  int32_t Add(const std::string& text, TokenKind kind) {
    tokens.push_back(text);
    view.kinds.push_back(static_cast<int64_t>(kind));
    return static_cast<int32_t>(tokens.size()) - 1;
  }

  int32_t Find(const std::string& text) const {
    const auto found = std::find(tokens.begin(), tokens.end(), text);
    EXPECT_NE(found, tokens.end()) << text;
    return static_cast<int32_t>(found - tokens.begin());
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> Create() {
    view.tokens.assign(tokens.begin(), tokens.end());
    view.merges.assign(merges.begin(), merges.end());
    return BpeTokenizer::Create(view);
  }

  std::unique_ptr<Tokenizer> Make() {
    auto tokenizer = Create();
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }
};

int32_t Byte(unsigned char byte) { return 3 + byte; }

std::vector<int32_t> Tokens(const Tokenizer& tokenizer, absl::string_view text,
                            TokenizeOptions options = {}) {
  std::vector<int32_t> tokens;
  const absl::Status status = tokenizer.Tokenize(text, options, &tokens);
  EXPECT_TRUE(status.ok()) << status;
  return tokens;
}

constexpr TokenizeOptions kParse = {.add_special = false, .parse_special = true};
constexpr TokenizeOptions kAdd = {.add_special = true, .parse_special = false};

std::string Render(const Tokenizer& tokenizer, const std::vector<int32_t>& tokens) {
  std::string text;
  for (const int32_t token : tokens) {
    const absl::string_view bytes = tokenizer.TokenBytes(token, true);
    text.append(bytes.data(), bytes.size());
  }
  return text;
}

TEST(BpeTokenizer, WordsBecomeTheirMergedTokens) {
  Vocabulary vocabulary;
  const auto tokenizer = vocabulary.Make();
  EXPECT_THAT(Tokens(*tokenizer, "hello the 12"),
              ElementsAre(vocabulary.Find("hello"), Byte(' '), vocabulary.Find("th"), Byte('e'), Byte(' '),
                          Byte('1'), Byte('2')));
  EXPECT_TRUE(Tokens(*tokenizer, "").empty());
}

TEST(BpeTokenizer, SpecialTokensInsidePlainRangesStayText) {
  Vocabulary vocabulary;
  const int32_t tool = vocabulary.Add("<tool>", TokenKind::kUserDefined);
  const auto tokenizer = vocabulary.Make();
  const std::string text = "<|im_end|>a<|im_end|><tool><|im_end|>";
  const auto parsed = [&](std::vector<TextRange> plain) {
    TokenizeOptions options = kParse;
    options.plain = plain;
    return Tokens(*tokenizer, text, options);
  };
  const std::vector<int32_t> spelled = Tokens(*tokenizer, "<|im_end|>");
  ASSERT_GT(spelled.size(), 1u);
  std::vector<int32_t> middle = {2, Byte('a')};
  middle.insert(middle.end(), spelled.begin(), spelled.end());
  middle.insert(middle.end(), {tool, 2});
  EXPECT_THAT(parsed({}), ElementsAre(2, Byte('a'), 2, tool, 2));
  EXPECT_EQ(parsed({{11, 21}}), middle);  // that one alone
  EXPECT_EQ(parsed({{10, 27}}), middle);  // user-defined tokens hold in any text
  EXPECT_THAT(parsed({{0, 9}, {12, 21}, {28, 37}}),
              ElementsAre(2, Byte('a'), 2, tool, 2));  // none lies wholly inside
  EXPECT_EQ(Render(*tokenizer, parsed({{0, 37}})), text);
  const std::vector<int32_t> all = parsed({{0, 37}});
  EXPECT_EQ(std::count(all.begin(), all.end(), 2), 0);
}

TEST(BpeTokenizer, TokensOfAnyValidTextGiveItBack) {
  Vocabulary vocabulary;
  vocabulary.Add("<tool>", TokenKind::kUserDefined);
  vocabulary.Add("the ", TokenKind::kUserDefined);
  const std::vector<std::string> fragments = {"hello", " the", "the ", "<|im_end|>", "<tool>", "<tool",
                                              "ä",     "\n\n", "   ",  "42",         "it's"};
  for (const absl::string_view pre : {"smollm", "gpt-2", "llama-bpe", "qwen2"}) {
    vocabulary.view.pre_tokenizer = pre;
    const auto tokenizer = vocabulary.Make();
    for (uint64_t i = 0; i < 2000; ++i) {
      const std::string text = RandomGoldenText(i, fragments);
      ASSERT_EQ(Render(*tokenizer, Tokens(*tokenizer, text)), text);
      ASSERT_EQ(Render(*tokenizer, Tokens(*tokenizer, text, kParse)), text);
    }
    for (uint32_t i = 0; i < 0x110000 / 64; i += 7) {
      const std::string text = SweepGoldenText(i);
      ASSERT_EQ(Render(*tokenizer, Tokens(*tokenizer, text)), text);
    }
  }
}

TEST(BpeTokenizer, ControlTokensAreFoundOnlyWhenAskedFor) {
  Vocabulary vocabulary;
  const auto tokenizer = vocabulary.Make();
  EXPECT_THAT(Tokens(*tokenizer, "<|im_start|>hello<|im_end|>", kParse),
              ElementsAre(1, vocabulary.Find("hello"), 2));
  for (const int32_t token : Tokens(*tokenizer, "<|im_start|>hello<|im_end|>")) {
    EXPECT_FALSE(tokenizer->IsSpecial(token));
  }
}

TEST(BpeTokenizer, UserDefinedTokensAreFoundInAnyTextTheLongestFirst) {
  Vocabulary vocabulary;
  const int32_t tool = vocabulary.Add("<tool>", TokenKind::kUserDefined);
  const int32_t tool_call = vocabulary.Add("<tool>call", TokenKind::kUserDefined);
  const auto tokenizer = vocabulary.Make();
  EXPECT_THAT(Tokens(*tokenizer, "<tool><tool>call"), ElementsAre(tool, tool_call));
  EXPECT_FALSE(tokenizer->IsSpecial(tool));
  EXPECT_EQ(tokenizer->TokenBytes(tool, false), "<tool>");
}

TEST(BpeTokenizer, SpecialTokensAreAddedAsTheFileSays) {
  Vocabulary vocabulary;
  EXPECT_THAT(Tokens(*vocabulary.Make(), "a", kAdd), ElementsAre(Byte('a')));
  vocabulary.view.add_bos = true;
  vocabulary.view.add_eos = true;
  EXPECT_THAT(Tokens(*vocabulary.Make(), "a", kAdd), ElementsAre(1, Byte('a'), 2));
  EXPECT_THAT(Tokens(*vocabulary.Make(), "", kAdd), ElementsAre(1, 2));
  EXPECT_THAT(Tokens(*vocabulary.Make(), "a"), ElementsAre(Byte('a')));
}

TEST(BpeTokenizer, Llama3AddsTheBeginTokenUnlessTheFileForbidsIt) {
  Vocabulary vocabulary;
  vocabulary.view.pre_tokenizer = "llama-bpe";
  EXPECT_THAT(Tokens(*vocabulary.Make(), "a", kAdd), ElementsAre(1, Byte('a')));
  vocabulary.view.add_bos = false;
  EXPECT_THAT(Tokens(*vocabulary.Make(), "a", kAdd), ElementsAre(Byte('a')));
}

TEST(BpeTokenizer, EndTokensAreTheFilesAndTheWellKnownOnesSorted) {
  Vocabulary vocabulary;
  const int32_t eot = vocabulary.Add("<|eot_id|>", TokenKind::kControl);
  vocabulary.Add("</s>", TokenKind::kNormal);  // not a control token: text may hold it
  vocabulary.view.more_ends = {7};
  const auto tokenizer = vocabulary.Make();
  EXPECT_THAT(tokenizer->end_tokens(), ElementsAre(0, 2, 7, eot));
  EXPECT_EQ(tokenizer->bos_token(), 1);
}

TEST(BpeTokenizer, AFileWithoutEndTokensHasNone) {
  Vocabulary vocabulary;
  vocabulary.view.eos = -1;
  vocabulary.view.bos = -1;
  vocabulary.view.kinds.clear();
  const auto tokenizer = vocabulary.Make();
  EXPECT_TRUE(tokenizer->end_tokens().empty());
  EXPECT_EQ(tokenizer->bos_token(), -1);
}

TEST(BpeTokenizer, WholeWordsWinOverMergesWhereThePreTokenizerSaysSo) {
  Vocabulary vocabulary;
  const int32_t unmerged = vocabulary.Add("xyz", TokenKind::kNormal);  // no merge makes it
  EXPECT_THAT(Tokens(*vocabulary.Make(), "xyz"), ElementsAre(Byte('x'), Byte('y'), Byte('z')));
  vocabulary.view.pre_tokenizer = "llama-bpe";
  EXPECT_THAT(Tokens(*vocabulary.Make(), "xyz"), ElementsAre(unmerged));
}

TEST(BpeTokenizer, OfTokensWithTheSameTextTheLastCounts) {
  Vocabulary vocabulary;
  const int32_t again = vocabulary.Add("hello", TokenKind::kNormal);
  const int32_t special_again = vocabulary.Add("<|im_end|>", TokenKind::kControl);
  const auto tokenizer = vocabulary.Make();
  EXPECT_THAT(Tokens(*tokenizer, "hello<|im_end|>", kParse), ElementsAre(again, special_again));
}

TEST(BpeTokenizer, TokenBytesAreEmptyOutsideTheVocabularyAndForUnusedTokens) {
  Vocabulary vocabulary;
  const int32_t unused = vocabulary.Add("[PAD300]", TokenKind::kUnused);
  const int32_t foreign = vocabulary.Add("日本", TokenKind::kNormal);  // outside the alphabet: as it stands
  const auto tokenizer = vocabulary.Make();
  EXPECT_EQ(tokenizer->TokenBytes(unused, true), "");
  EXPECT_EQ(tokenizer->TokenBytes(foreign, true), "日本");
  EXPECT_EQ(tokenizer->TokenBytes(-1, true), "");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->vocabulary_size(), true), "");
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(tokenizer->vocabulary_size()));
  EXPECT_EQ(tokenizer->TokenBytes(Byte(0xAD), true), "\xAD");
  EXPECT_EQ(tokenizer->longest_token_bytes(), std::string("<|endoftext|>").size());
}

TEST(BpeTokenizer, InvalidUtf8IsAnErrorThatNamesTheByteAndChangesNothing) {
  Vocabulary vocabulary;
  vocabulary.view.add_bos = true;
  const auto tokenizer = vocabulary.Make();
  std::vector<int32_t> tokens = {5, 6};
  const absl::Status status = tokenizer->Tokenize("hello \xC3(", kAdd, &tokens);
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidUtf8);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 6"));
  EXPECT_THAT(tokens, ElementsAre(5, 6));
  ASSERT_TRUE(tokenizer->Tokenize("a", kAdd, &tokens).ok());
  EXPECT_THAT(tokens, ElementsAre(5, 6, 1, Byte('a')));
}

// Quadratic merging or searching would take hours here.
TEST(BpeTokenizer, AMegabyteOfOneLetterIsOneWordLikeAnyOther) {
  Vocabulary vocabulary;
  vocabulary.Add("aa", TokenKind::kNormal);
  vocabulary.Add("aaaa", TokenKind::kNormal);
  vocabulary.merges.insert(vocabulary.merges.end(), {"a a", "aa aa"});
  const auto tokenizer = vocabulary.Make();
  const std::string text((1 << 20) + 3, 'a');
  const std::vector<int32_t> tokens = Tokens(*tokenizer, text);
  EXPECT_EQ(tokens.size(), (1u << 18) + 2);
  EXPECT_EQ(Render(*tokenizer, tokens), text);
  for (const char c : {' ', '\n', '<', '1'}) {
    const std::string other(1 << 20, c);
    EXPECT_EQ(Render(*tokenizer, Tokens(*tokenizer, other, kParse)), other);
  }
}

TEST(BpeTokenizer, ContradictionsInTheVocabularyAreErrors) {
  const auto code_after = [](auto&& change) {
    Vocabulary vocabulary;
    change(vocabulary);
    return CodeOf(vocabulary.Create().status());
  };
  EXPECT_EQ(code_after([](Vocabulary&) {}), ErrorCode::kOk);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.pre_tokenizer = "none-such"; }), ErrorCode::kUnsupported);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.tokens.clear(); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.kinds.pop_back(); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.kinds[9] = 0; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.kinds[9] = 7; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.bos = 300; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.eos = -2; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.more_ends = {int64_t{1} << 32}; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.add_bos = true, v.view.bos = -1; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.add_eos = true, v.view.eos = -1; }), ErrorCode::kCorrupt);
  // A merge into a token that stands for other bytes would break the way back to the text.
  EXPECT_EQ(code_after([](Vocabulary& v) { v.view.kinds[v.Find("Ġthe")] = 4; }), ErrorCode::kCorrupt);
}

TEST(BpeTokenizer, AnUnknownPreTokenizerIsNamed) {
  Vocabulary vocabulary;
  vocabulary.view.pre_tokenizer = "none-such";
  EXPECT_THAT(std::string(vocabulary.Create().status().message()), HasSubstr("'none-such'"));
}

}  // namespace
}  // namespace tessera

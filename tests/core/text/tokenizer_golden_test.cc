// The tokenizer against Hugging Face's on the same vocabulary, which comes from a real model's file.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/env/file.h"
#include "core/model/gguf.h"
#include "core/text/bpe_tokenizer.h"
#include "tests/core/text/golden_texts.h"

namespace tessera {
namespace {

constexpr uint64_t kFnvOffset = 0xCBF29CE484222325;

uint64_t Fnv(uint64_t value, uint32_t item) { return (value ^ item) * 0x100000001B3; }

std::string Hexadecimal(uint64_t value) {
  char text[17];
  snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value));
  return text;
}

simdjson::dom::element LoadGolden(simdjson::dom::parser* parser, const std::string& name) {
  return parser->load(std::string(TESSERA_GOLDENS "tokenizer/") + name).value();
}

std::string TextOf(simdjson::dom::element element) { return std::string(element.get_string().value()); }

class TokenizerGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TESSERA_MODEL_SMOLLM2");
    if (path == nullptr) GTEST_SKIP() << "TESSERA_MODEL_SMOLLM2 does not name the model's GGUF file";
    auto file = OpenFile(path);
    ASSERT_TRUE(file.ok()) << file.status();
    auto gguf = GgufFile::Read(*std::move(file));
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    gguf_ = *std::move(gguf);
    const GgufValue* tokens = gguf_->Find("tokenizer.ggml.tokens");
    ASSERT_NE(tokens, nullptr);
    size_ = static_cast<int32_t>(tokens->strings.size());
  }

  // The file's vocabulary with another pre-tokenizer, and with some plain tokens declared user-defined.
  std::unique_ptr<Tokenizer> With(absl::string_view pre_tokenizer, const std::vector<int64_t>& user_defined) {
    auto vocabulary = ReadBpeVocabulary(*gguf_, size_);
    EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
    vocabulary->pre_tokenizer = pre_tokenizer;
    for (const int64_t token : user_defined) vocabulary->kinds[token] = 4;
    auto tokenizer = BpeTokenizer::Create(*vocabulary);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  std::unique_ptr<GgufFile> gguf_;
  int32_t size_ = 0;
};

std::vector<int32_t> Tokens(const Tokenizer& tokenizer, const std::string& text, bool parse_special) {
  std::vector<int32_t> tokens;
  TokenizeOptions options;
  options.parse_special = parse_special;
  const absl::Status status = tokenizer.Tokenize(text, options, &tokens);
  EXPECT_TRUE(status.ok()) << status;
  return tokens;
}

TEST_F(TokenizerGolden, TheFileHasTheVocabularyOfTheGoldens) {
  simdjson::dom::parser parser;
  const std::string expected = TextOf(LoadGolden(&parser, "hashes.json")["vocabulary"]);
  uint64_t hash = kFnvOffset;
  for (const absl::string_view token : gguf_->Find("tokenizer.ggml.tokens")->strings) {
    for (const char c : token) hash = Fnv(hash, static_cast<unsigned char>(c));
    hash = Fnv(hash, 0xFF);
  }
  EXPECT_EQ(Hexadecimal(hash), expected);
}

TEST_F(TokenizerGolden, ReadableCasesGiveTheReferencesTokens) {
  simdjson::dom::parser parser;
  size_t cases = 0;
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  for (const simdjson::dom::element row : LoadGolden(&parser, "cases.json").get_array()) {
    const std::string pre = TextOf(row["pre"]);
    const std::string text = TextOf(row["text"]);
    std::unique_ptr<Tokenizer>& tokenizer = tokenizers[pre];
    if (tokenizer == nullptr) tokenizer = With(pre, {});
    std::vector<int32_t> expected;
    for (const int64_t token : row["tokens"].get_array()) expected.push_back(static_cast<int32_t>(token));
    EXPECT_EQ(Tokens(*tokenizer, text, row["parse_special"].get_bool()), expected)
        << "pre-tokenizer " << pre << ", text: " << text;
    ++cases;
  }
  EXPECT_GT(cases, 200u);
}

TEST_F(TokenizerGolden, EveryCodePointAndRandomTextsGiveTheReferencesTokens) {
  simdjson::dom::parser fragments_parser;
  std::vector<std::string> fragments;
  for (const simdjson::dom::element fragment : LoadGolden(&fragments_parser, "fragments.json").get_array()) {
    fragments.push_back(TextOf(fragment));
  }
  simdjson::dom::parser parser;
  const simdjson::dom::element golden = LoadGolden(&parser, "hashes.json");
  std::vector<std::string> texts;
  const uint64_t random_texts = golden["random_texts"];
  const uint64_t sweep_texts = golden["sweep_texts"];
  const uint64_t group_size = golden["group"];
  for (uint64_t i = 0; i < random_texts; ++i) texts.push_back(RandomGoldenText(i, fragments));
  for (uint32_t i = 0; i < sweep_texts; ++i) texts.push_back(SweepGoldenText(i));

  for (const simdjson::dom::element set : golden["sets"].get_array()) {
    const std::string pre = TextOf(set["pre"]);
    const bool parse_special = set["parse_special"].get_bool();
    std::vector<int64_t> user_defined;
    for (const int64_t token : set["user_defined"].get_array()) user_defined.push_back(token);
    const std::unique_ptr<Tokenizer> tokenizer = With(pre, user_defined);

    size_t group = 0;
    for (const simdjson::dom::element expected : set["groups"].get_array()) {
      uint64_t hash = kFnvOffset;
      size_t count = 0;
      for (size_t i = group * group_size; i < std::min(texts.size(), (group + 1) * group_size); ++i) {
        for (const int32_t token : Tokens(*tokenizer, texts[i], parse_special)) {
          hash = Fnv(hash, static_cast<uint32_t>(token));
          ++count;
        }
        hash = Fnv(hash, 0xFFFFFFFF);
      }
      ASSERT_EQ(std::to_string(count) + ":" + Hexadecimal(hash), TextOf(expected))
          << pre << ", texts from " << group * group_size;
      ++group;
    }
    EXPECT_EQ(group, (texts.size() + group_size - 1) / group_size);
  }
}

// SmolLM2 has no tokens for these bytes; its reference tokenizer leaves them out of the text.
bool Missing(char c) {
  return absl::string_view("\x04\x06\x13\x14\x16\x1D\xF1\xF2").find(c) != absl::string_view::npos;
}

TEST_F(TokenizerGolden, TokensGiveBackTheTextButForBytesTheVocabularyLacks) {
  auto tokenizer = ReadTokenizer(*gguf_, size_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (uint32_t i = 0; i < 0x110000 / 64; ++i) {
    const std::string text = SweepGoldenText(i);
    std::string back;
    for (const int32_t token : Tokens(**tokenizer, text, true)) {
      const absl::string_view bytes = (*tokenizer)->TokenBytes(token, true);
      back.append(bytes.data(), bytes.size());
    }
    std::string expected;
    for (const char c : text) {
      if (!Missing(c)) expected.push_back(c);
    }
    ASSERT_EQ(back, expected) << "code points from " << 64 * i;
  }
}

TEST_F(TokenizerGolden, TheFilesSpecialTokensAreRead) {
  auto tokenizer = ReadTokenizer(*gguf_, size_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->bos_token(), 1);
  EXPECT_EQ((*tokenizer)->end_tokens(), absl::Span<const int32_t>({0, 2}));
  EXPECT_TRUE((*tokenizer)->IsSpecial(2));
  EXPECT_FALSE((*tokenizer)->IsSpecial(100));
  EXPECT_EQ((*tokenizer)->TokenBytes(2, true), "<|im_end|>");
  EXPECT_EQ((*tokenizer)->TokenBytes(2, false), "");
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 49152);
}

}  // namespace
}  // namespace tessera

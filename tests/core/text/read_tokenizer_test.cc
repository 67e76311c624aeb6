// From GGUF metadata, right and broken, to a tokenizer or an error that names the key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/gguf.h"
#include "core/text/tokenizer.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Change = std::function<void(GgufWriter&)>;

GgufWriter TinyWriter() {
  std::vector<int32_t> kinds(kTinyVocabulary, 1);
  for (int i = 0; i < 3; ++i) kinds[i] = 3;
  GgufWriter writer;
  writer.String("general.architecture", "llama")
      .String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", "smollm")
      .Strings("tokenizer.ggml.tokens", TinyTokens())
      .Array("tokenizer.ggml.token_type", GgufType::kInt32, kinds)
      .Strings("tokenizer.ggml.merges", TinyMerges())
      .Uint32("tokenizer.ggml.bos_token_id", 1)
      .Uint32("tokenizer.ggml.eos_token_id", 2);
  return writer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ReadWith(const Change& change,
                                                    int32_t vocabulary = kTinyVocabulary) {
  GgufWriter writer = TinyWriter();
  change(writer);
  auto file = GgufFile::Read(FileOf(writer.Build()));
  EXPECT_TRUE(file.ok()) << file.status();
  return ReadTokenizer(**file, vocabulary);  // the tokenizer outlives the file
}

TEST(ReadTokenizer, TheFilesKeysBecomeATokenizer) {
  const auto tokenizer = ReadWith([](GgufWriter& writer) {
    writer.Bool("tokenizer.ggml.add_bos_token", true).Uint32("tokenizer.ggml.eot_token_id", 0);
  });
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), kTinyVocabulary);
  EXPECT_EQ((*tokenizer)->bos_token(), 1);
  EXPECT_THAT((*tokenizer)->end_tokens(), ElementsAre(0, 2));
  std::vector<int32_t> tokens;
  TokenizeOptions options;
  options.add_special = options.parse_special = true;
  ASSERT_TRUE((*tokenizer)->Tokenize("x<|im_end|>", options, &tokens).ok());
  EXPECT_THAT(tokens, ElementsAre(1, 3 + 'x', 2));
}

TEST(ReadTokenizer, WithoutTokenTypesEveryTokenIsPlain) {
  const auto tokenizer = ReadWith([](GgufWriter& writer) { writer.Remove("tokenizer.ggml.token_type"); });
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_FALSE((*tokenizer)->IsSpecial(2));
}

struct Broken {
  std::string key;
  ErrorCode code;
  Change change;
};

TEST(ReadTokenizer, BrokenMetadataIsAnErrorThatNamesTheKey) {
  const auto id = [](const std::string& key, int32_t token) {
    return [key, token](GgufWriter& w) { w.Remove(key).Int32(key, token); };
  };
  const auto remove = [](const std::string& key) { return [key](GgufWriter& w) { w.Remove(key); }; };
  const auto string = [](const std::string& key, const std::string& value) {
    return [key, value](GgufWriter& w) { w.Remove(key).String(key, value); };
  };
  const std::string t = "tokenizer.ggml.";
  const std::vector<Broken> all = {
      {t + "model", ErrorCode::kCorrupt, remove(t + "model")},
      {t + "model", ErrorCode::kUnsupported, string(t + "model", "llama")},
      {t + "model", ErrorCode::kCorrupt, id(t + "model", 1)},
      {t + "pre", ErrorCode::kCorrupt, remove(t + "pre")},
      {t + "pre", ErrorCode::kUnsupported, string(t + "pre", "none-such")},
      {t + "tokens", ErrorCode::kCorrupt, remove(t + "tokens")},
      {t + "tokens", ErrorCode::kCorrupt, string(t + "tokens", "a")},
      {t + "tokens", ErrorCode::kCorrupt,
       [&](GgufWriter& w) { w.Remove(t + "tokens").Strings(t + "tokens", {"a"}); }},
      {t + "merges", ErrorCode::kCorrupt, remove(t + "merges")},
      {t + "merges", ErrorCode::kCorrupt, id(t + "merges", 1)},
      {t + "merges", ErrorCode::kCorrupt,
       [&](GgufWriter& w) { w.Remove(t + "merges").Strings(t + "merges", {"a"}); }},
      {t + "token_type", ErrorCode::kCorrupt, id(t + "token_type", 1)},
      {t + "token_type", ErrorCode::kCorrupt,
       [&](GgufWriter& w) {
         w.Remove(t + "token_type").Array(t + "token_type", GgufType::kInt32, std::vector<int32_t>{1, 1});
       }},
      {t + "token_type", ErrorCode::kCorrupt,
       [&](GgufWriter& w) {
         w.Remove(t + "token_type")
             .Array(t + "token_type", GgufType::kFloat32, std::vector<float>(kTinyVocabulary, 1.0f));
       }},
      {t + "bos_token_id", ErrorCode::kCorrupt, id(t + "bos_token_id", kTinyVocabulary)},
      {t + "bos_token_id", ErrorCode::kCorrupt, string(t + "bos_token_id", "1")},
      {t + "eos_token_id", ErrorCode::kCorrupt, id(t + "eos_token_id", -1)},
      {t + "eot_token_id", ErrorCode::kCorrupt, id(t + "eot_token_id", kTinyVocabulary)},
      {t + "eom_token_id", ErrorCode::kCorrupt, id(t + "eom_token_id", -5)},
      {t + "add_bos_token", ErrorCode::kCorrupt, string(t + "add_bos_token", "yes")},
      {t + "add_bos_token", ErrorCode::kCorrupt,
       [&](GgufWriter& w) { w.Remove(t + "bos_token_id").Bool(t + "add_bos_token", true); }},
      {t + "add_eos_token", ErrorCode::kCorrupt,
       [&](GgufWriter& w) { w.Remove(t + "eos_token_id").Bool(t + "add_eos_token", true); }},
  };
  for (size_t i = 0; i < all.size(); ++i) {
    const auto tokenizer = ReadWith(all[i].change);
    EXPECT_EQ(CodeOf(tokenizer.status()), all[i].code) << "case " << i << ": " << tokenizer.status();
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(all[i].key)) << "case " << i;
  }
}

TEST(ReadTokenizer, AVocabularyOfAnotherSizeThanTheModelsIsCorrupt) {
  const auto tokenizer = ReadWith([](GgufWriter&) {}, kTinyVocabulary + 1);
  EXPECT_EQ(CodeOf(tokenizer.status()), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace tessera

// Any bytes through the UTF-8 stream and the tokenizer: what comes out is valid, and the way back is exact.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/text/bpe_tokenizer.h"
#include "core/text/byte_alphabet.h"
#include "core/text/utf8.h"

namespace tessera {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

std::string AlphabetText(unsigned char byte) {
  const uint32_t c = AlphabetCharacter(byte);
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

// All bytes, some merges that contend, control and user-defined tokens that begin each other.
std::unique_ptr<Tokenizer> MakeTokenizer(absl::string_view pre_tokenizer) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(AlphabetText(static_cast<unsigned char>(byte)));
  const std::vector<std::string> merges = {"a a", "aa aa", "a b",   "b a", "ab a",
                                           "Ġ a", "Ġ Ġ",   "ĠĠ ĠĠ", "Ã ©", "1 2"};
  for (std::string merge : merges) tokens.push_back(merge.erase(merge.find(' '), 1));
  BpeVocabulary vocabulary;
  vocabulary.kinds.assign(tokens.size(), 1);
  for (const char* text : {"<|x|>", "<|x", "<|x|><|x|>"}) {
    tokens.emplace_back(text);
    vocabulary.kinds.push_back(3);
  }
  for (const char* text : {"<t>", "<t><", "a b"}) {
    tokens.emplace_back(text);
    vocabulary.kinds.push_back(4);
  }
  vocabulary.tokens.assign(tokens.begin(), tokens.end());
  vocabulary.merges.assign(merges.begin(), merges.end());
  vocabulary.pre_tokenizer = pre_tokenizer;
  auto tokenizer = BpeTokenizer::Create(vocabulary);
  Require(tokenizer.ok());
  return *std::move(tokenizer);
}

void CheckTokenizer(const Tokenizer& tokenizer, absl::string_view text) {
  const bool valid = FirstInvalidUtf8(text) == text.size();
  for (const bool parse_special : {false, true}) {
    TokenizeOptions options;
    options.parse_special = parse_special;
    std::vector<int32_t> tokens;
    Require(tokenizer.Tokenize(text, options, &tokens).ok() == valid);
    std::string back;
    for (const int32_t token : tokens) {
      Require(parse_special || !tokenizer.IsSpecial(token));
      const absl::string_view bytes = tokenizer.TokenBytes(token, true);
      back.append(bytes.data(), bytes.size());
    }
    Require(back == (valid ? text : absl::string_view()));
  }
}

// In pieces whose sizes the text itself gives; returns what came out.
std::string CheckStream(absl::string_view bytes, bool whole) {
  Utf8Stream stream;
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = whole ? bytes.size() : 1 + static_cast<unsigned char>(bytes[at]) % 5;
    const absl::string_view piece = bytes.substr(at, size);
    std::vector<char> out(Utf8Stream::MostBytes(piece.size()));
    text.append(out.data(), stream.Push(piece, out.data()));
    Require(FirstInvalidUtf8(text) == text.size());
    at += piece.size();
  }
  char last[Utf8Stream::MostBytes(0)];
  text.append(last, stream.Finish(last));
  return text;
}

}  // namespace
}  // namespace tessera

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const tokenizers = [] {
    auto* all = new std::vector<std::unique_ptr<tessera::Tokenizer>>;
    for (const char* pre : {"smollm", "gpt-2", "llama-bpe", "qwen2"}) {
      all->push_back(tessera::MakeTokenizer(pre));
    }
    return all;
  }();
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string text = tessera::CheckStream(bytes, false);
  tessera::Require(text == tessera::CheckStream(bytes, true));
  tessera::Require(tessera::FirstInvalidUtf8(text) == text.size());
  tessera::Require(tessera::FirstInvalidUtf8(bytes) != bytes.size() || text == bytes);
  for (const auto& tokenizer : *tokenizers) {
    tessera::CheckTokenizer(*tokenizer, bytes);
    tessera::CheckTokenizer(*tokenizer, text);
  }
  return 0;
}

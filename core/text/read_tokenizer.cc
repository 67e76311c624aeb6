// From a GGUF file's metadata to a tokenizer.
#include <utility>

#include "core/base/status.h"
#include "core/model/gguf.h"
#include "core/text/bpe_tokenizer.h"
#include "core/text/bpe_vocabulary.h"
#include "core/text/tokenizer.h"

namespace tessera {
namespace {

bool IsInteger(GgufType type) {
  return type != GgufType::kFloat32 && type != GgufType::kFloat64 && type != GgufType::kString &&
         type != GgufType::kBool;
}

// kCorrupt when it is missing, or of another type.
absl::StatusOr<const GgufValue*> FindArray(const GgufFile& file, absl::string_view key, bool of_strings) {
  const GgufValue* value = file.Find(key);
  if (value == nullptr) return Corrupt(key, "is missing");
  const bool right_type = of_strings ? value->type == GgufType::kString : IsInteger(value->type);
  if (!value->is_array || !right_type) {
    return Corrupt(key, of_strings ? "is not an array of strings" : "is not an array of integers");
  }
  return value;
}

// -1 when the key is missing.
absl::StatusOr<int64_t> ReadTokenId(const GgufFile& file, absl::string_view key, int64_t vocabulary_size) {
  if (file.Find(key) == nullptr) return -1;
  TSR_ASSIGN_OR_RETURN(const int64_t token, file.GetInt(key));
  if (token < 0 || token >= vocabulary_size) {
    return Corrupt(key,
                   absl::StrCat("is ", token, ", outside the vocabulary of ", vocabulary_size, " tokens"));
  }
  return token;
}

absl::Status ReadFlag(const GgufFile& file, absl::string_view key, std::optional<bool>* flag) {
  if (file.Find(key) == nullptr) return absl::OkStatus();
  TSR_ASSIGN_OR_RETURN(*flag, file.GetBool(key));
  return absl::OkStatus();
}

// A required string; missing is a broken file here.
absl::StatusOr<absl::string_view> ReadName(const GgufFile& file, absl::string_view key) {
  if (file.Find(key) == nullptr) return Corrupt(key, "is missing");
  return file.GetString(key);
}

}  // namespace

absl::StatusOr<BpeVocabulary> ReadBpeVocabulary(const GgufFile& file, int32_t vocabulary_size) {
  BpeVocabulary vocabulary;
  TSR_ASSIGN_OR_RETURN(vocabulary.pre_tokenizer, ReadName(file, "tokenizer.ggml.pre"));

  TSR_ASSIGN_OR_RETURN(const GgufValue* tokens, FindArray(file, "tokenizer.ggml.tokens", true));
  if (tokens->strings.size() != static_cast<size_t>(vocabulary_size)) {
    return Corrupt("tokenizer.ggml.tokens",
                   absl::StrCat("has ", tokens->strings.size(), " tokens, the model ", vocabulary_size));
  }
  vocabulary.tokens.assign(tokens->strings.begin(), tokens->strings.end());
  TSR_ASSIGN_OR_RETURN(const GgufValue* merges, FindArray(file, "tokenizer.ggml.merges", true));
  vocabulary.merges.assign(merges->strings.begin(), merges->strings.end());
  if (file.Find("tokenizer.ggml.token_type") != nullptr) {
    TSR_ASSIGN_OR_RETURN(const GgufValue* kinds, FindArray(file, "tokenizer.ggml.token_type", false));
    vocabulary.kinds.assign(kinds->integers.begin(), kinds->integers.end());
  }

  TSR_ASSIGN_OR_RETURN(vocabulary.bos, ReadTokenId(file, "tokenizer.ggml.bos_token_id", vocabulary_size));
  TSR_ASSIGN_OR_RETURN(vocabulary.eos, ReadTokenId(file, "tokenizer.ggml.eos_token_id", vocabulary_size));
  for (const absl::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    TSR_ASSIGN_OR_RETURN(const int64_t token, ReadTokenId(file, key, vocabulary_size));
    if (token >= 0) vocabulary.more_ends.push_back(token);
  }
  TSR_RETURN_IF_ERROR(ReadFlag(file, "tokenizer.ggml.add_bos_token", &vocabulary.add_bos));
  TSR_RETURN_IF_ERROR(ReadFlag(file, "tokenizer.ggml.add_eos_token", &vocabulary.add_eos));
  return vocabulary;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ReadTokenizer(const GgufFile& file, int32_t vocabulary_size) {
  TSR_ASSIGN_OR_RETURN(const absl::string_view model, ReadName(file, "tokenizer.ggml.model"));
  if (model != "gpt2") {
    return Unsupported("tokenizer.ggml.model",
                       absl::StrCat("the tokenizer '", model, "' is not known; 'gpt2' (byte-level BPE) is"));
  }
  TSR_ASSIGN_OR_RETURN(const BpeVocabulary vocabulary, ReadBpeVocabulary(file, vocabulary_size));
  return BpeTokenizer::Create(vocabulary);
}

}  // namespace tessera

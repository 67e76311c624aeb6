// Puts the parts of the byte-level BPE tokenizer together.
#include "core/text/bpe_tokenizer.h"

#include <algorithm>
#include <limits>

#include "absl/hash/hash.h"
#include "core/base/status.h"
#include "core/text/utf8.h"

namespace tessera {
namespace {

// Control tokens that end a turn or a text in the published chat formats; files often name only one of
// theirs.
constexpr absl::string_view kEndTexts[] = {"<|im_end|>",      "<|eot_id|>", "<|endoftext|>",
                                           "<|end_of_text|>", "<|end|>",    "</s>"};

// Takes back what was appended unless all went well.
class Appending {
 public:
  explicit Appending(std::vector<int32_t>* tokens) : tokens_(tokens), size_(tokens->size()) {}
  Appending(const Appending&) = delete;
  Appending& operator=(const Appending&) = delete;
  ~Appending() {
    if (tokens_ != nullptr) tokens_->resize(size_);
  }
  void Keep() { tokens_ = nullptr; }

 private:
  std::vector<int32_t>* tokens_;
  size_t size_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::Create(const BpeVocabulary& vocabulary) {
  std::unique_ptr<BpeTokenizer> tokenizer(new BpeTokenizer);
  tokenizer->rules_ = FindSplitRules(vocabulary.pre_tokenizer);
  if (tokenizer->rules_ == nullptr) {
    return Unsupported("tokenizer.ggml.pre",
                       absl::StrCat("the pre-tokenizer '", vocabulary.pre_tokenizer, "' is not known"));
  }
  TSR_RETURN_IF_ERROR(tokenizer->table_.Fill(vocabulary));
  TSR_RETURN_IF_ERROR(tokenizer->merges_.Fill(vocabulary, tokenizer->table_));
  TSR_RETURN_IF_ERROR(tokenizer->FillSpecials(vocabulary));
  TSR_RETURN_IF_ERROR(tokenizer->FillAdded());
  tokenizer->FillWords();
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

absl::Status BpeTokenizer::FillSpecials(const BpeVocabulary& vocabulary) {
  const auto outside = [this](int64_t token) { return token < -1 || token >= table_.size(); };
  if (outside(vocabulary.bos) || outside(vocabulary.eos) ||
      std::any_of(vocabulary.more_ends.begin(), vocabulary.more_ends.end(), outside)) {
    return Corrupt("tokenizer.ggml",
                   absl::StrCat("the id of a begin or end token is outside the vocabulary of ", table_.size(),
                                " tokens"));
  }
  bos_ = static_cast<int32_t>(vocabulary.bos);
  eos_ = static_cast<int32_t>(vocabulary.eos);
  adds_bos_ = vocabulary.add_bos.value_or(rules_->adds_bos && bos_ >= 0);
  adds_eos_ = vocabulary.add_eos.value_or(false);
  if (adds_bos_ && bos_ < 0) {
    return Corrupt("tokenizer.ggml.add_bos_token", "is true, but tokenizer.ggml.bos_token_id is missing");
  }
  if (adds_eos_ && eos_ < 0) {
    return Corrupt("tokenizer.ggml.add_eos_token", "is true, but tokenizer.ggml.eos_token_id is missing");
  }
  ends_.push_back(eos_);
  for (const int64_t token : vocabulary.more_ends) ends_.push_back(static_cast<int32_t>(token));
  for (int32_t i = 0; i < table_.size(); ++i) {
    if (table_.kind(i) == TokenKind::kControl &&
        std::find(std::begin(kEndTexts), std::end(kEndTexts), table_.bytes(i)) != std::end(kEndTexts)) {
      ends_.push_back(i);
    }
  }
  std::sort(ends_.begin(), ends_.end());
  ends_.erase(std::unique(ends_.begin(), ends_.end()), ends_.end());
  if (ends_.front() < 0) ends_.erase(ends_.begin());
  return absl::OkStatus();
}

absl::Status BpeTokenizer::FillAdded() {
  for (int32_t i = 0; i < table_.size(); ++i) {
    const bool user_defined = table_.kind(i) == TokenKind::kUserDefined;
    if (user_defined) TSR_RETURN_IF_ERROR(user_defined_.Add(table_.bytes(i), i));
    if (user_defined || table_.special(i)) {
      TSR_RETURN_IF_ERROR(user_defined_and_special_.Add(table_.bytes(i), i));
    }
  }
  user_defined_.Finish();
  user_defined_and_special_.Finish();
  return absl::OkStatus();
}

void BpeTokenizer::FillWords() {
  MergeScratch scratch;
  std::vector<int32_t> merged;
  words_.Reserve(static_cast<size_t>(table_.size()));
  for (int32_t i = 0; i < table_.size(); ++i) {
    const absl::string_view bytes = table_.bytes(i);
    if (table_.kind(i) != TokenKind::kNormal || bytes.empty()) continue;
    if (!rules_->whole_words) {
      merged.clear();
      merges_.Apply(bytes, &scratch, &merged);
      if (merged.size() != 1 || merged[0] != i) continue;
    }
    words_.Put(absl::HashOf(bytes), i, SameBytes(bytes));
  }
}

int32_t BpeTokenizer::FindWord(absl::string_view word) const {
  if (word.size() > table_.longest()) return -1;
  return words_.Find(absl::HashOf(word), SameBytes(word));
}

absl::Status BpeTokenizer::Tokenize(absl::string_view text, const TokenizeOptions& options,
                                    std::vector<int32_t>* tokens) const {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return LimitExceeded("text",
                         absl::StrCat("has ", text.size(), " bytes; at most 2^31 - 1 are taken at once"));
  }
  const size_t invalid = FirstInvalidUtf8(text);
  if (invalid != text.size()) {
    return InvalidUtf8("text", absl::StrCat("no valid UTF-8 sequence begins at byte ", invalid));
  }
  Appending appending(tokens);
  MergeScratch scratch;
  const AddedTokens& added = options.parse_special ? user_defined_and_special_ : user_defined_;
  if (options.add_special && adds_bos_) tokens->push_back(bos_);
  for (size_t offset = 0; offset < text.size();) {
    const AddedTokens::Match match = FindAdded(added, text, offset, options.plain);
    TokenizeWords(text.substr(offset, match.offset - offset), &scratch, tokens);
    if (match.token >= 0) tokens->push_back(match.token);
    offset = match.offset + match.length;
  }
  if (options.add_special && adds_eos_) tokens->push_back(eos_);
  appending.Keep();
  return absl::OkStatus();
}

// The next added token that is not a special one inside a plain range.
AddedTokens::Match BpeTokenizer::FindAdded(const AddedTokens& added, absl::string_view text, size_t offset,
                                           absl::Span<const TextRange> plain) const {
  for (;;) {
    const AddedTokens::Match match = added.Find(text, offset);
    if (match.token < 0 || !table_.special(match.token)) return match;
    const auto range = std::upper_bound(plain.begin(), plain.end(), match.offset,
                                        [](size_t at, const TextRange& each) { return at < each.end; });
    const bool inside =
        range != plain.end() && range->begin <= match.offset && match.offset + match.length <= range->end;
    if (!inside) return match;
    // A user-defined token at the same place holds in any text.
    const AddedTokens::Match defined =
        user_defined_.Find(text.substr(0, match.offset + match.length), match.offset);
    if (defined.token >= 0 && defined.offset == match.offset) return defined;
    offset = match.offset + 1;
  }
}

void BpeTokenizer::TokenizeWords(absl::string_view text, MergeScratch* scratch,
                                 std::vector<int32_t>* tokens) const {
  WordSplitter splitter(*rules_, text);
  absl::string_view word;
  while (splitter.Next(&word)) {
    const int32_t token = FindWord(word);
    if (token >= 0) {
      tokens->push_back(token);
    } else {
      merges_.Apply(word, scratch, tokens);
    }
  }
}

absl::string_view BpeTokenizer::TokenBytes(int32_t token, bool render_special) const {
  if (!Inside(token) || (table_.special(token) && !render_special)) return {};
  return table_.bytes(token);
}

}  // namespace tessera

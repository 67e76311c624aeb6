// The byte-level BPE tokenizer: special tokens, then words, then merges. Knows nothing of files.
#ifndef TESSERA_CORE_TEXT_BPE_TOKENIZER_H_
#define TESSERA_CORE_TEXT_BPE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/text/added_tokens.h"
#include "core/text/bpe_vocabulary.h"
#include "core/text/hash_index.h"
#include "core/text/merge_table.h"
#include "core/text/token_table.h"
#include "core/text/tokenizer.h"
#include "core/text/word_splitter.h"

namespace tessera {

class BpeTokenizer final : public Tokenizer {
 public:
  // Keeps nothing of `vocabulary`. kUnsupported names an unknown pre-tokenizer, kCorrupt a key that
  // contradicts.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const BpeVocabulary& vocabulary);

  BpeTokenizer(const BpeTokenizer&) = delete;  // views point into it
  BpeTokenizer& operator=(const BpeTokenizer&) = delete;

  int32_t vocabulary_size() const override { return table_.size(); }
  absl::Status Tokenize(absl::string_view text, const TokenizeOptions& options,
                        std::vector<int32_t>* tokens) const override;
  absl::string_view TokenBytes(int32_t token, bool render_special) const override;
  bool IsSpecial(int32_t token) const override { return Inside(token) && table_.special(token); }
  size_t longest_token_bytes() const override { return table_.longest(); }
  size_t heap_bytes() const override {
    return table_.heap_bytes() + merges_.heap_bytes() + user_defined_.heap_bytes() +
           user_defined_and_special_.heap_bytes() + words_.heap_bytes();
  }
  int32_t bos_token() const override { return bos_; }
  int32_t end_token() const override { return eos_ >= 0 || ends_.empty() ? eos_ : ends_.front(); }
  absl::Span<const int32_t> end_tokens() const override { return ends_; }

 private:
  BpeTokenizer() = default;

  bool Inside(int32_t token) const { return token >= 0 && token < table_.size(); }
  absl::Status FillSpecials(const BpeVocabulary& vocabulary);
  absl::Status FillAdded();
  void FillWords();
  int32_t FindWord(absl::string_view word) const;  // -1: not one token
  auto SameBytes(absl::string_view bytes) const {
    return [this, bytes](int32_t token) { return table_.bytes(token) == bytes; };
  }
  AddedTokens::Match FindAdded(const AddedTokens& added, absl::string_view text, size_t offset,
                               absl::Span<const TextRange> plain) const;
  void TokenizeWords(absl::string_view text, MergeScratch* scratch, std::vector<int32_t>* tokens) const;

  const SplitRules* rules_ = nullptr;
  TokenTable table_;
  MergeTable merges_;
  AddedTokens user_defined_;
  AddedTokens user_defined_and_special_;
  // Words that are one token, whose merging would end there anyway (or is not asked for): most of a text's
  // words.
  HashIndex words_;
  int32_t bos_ = -1;
  int32_t eos_ = -1;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
  std::vector<int32_t> ends_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_BPE_TOKENIZER_H_

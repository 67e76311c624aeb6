// Byte pair encoding: which two neighbouring tokens become one, in which order. Knows nothing of words or
// specials.
#ifndef TESSERA_CORE_TEXT_MERGE_TABLE_H_
#define TESSERA_CORE_TEXT_MERGE_TABLE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/text/bpe_vocabulary.h"
#include "core/text/hash_index.h"
#include "core/text/token_table.h"

namespace tessera {

// Working memory of MergeTable::Apply, kept from word to word: 32 bytes for each byte of the longest word,
// about.
struct MergeScratch {
  struct Symbol {
    int32_t token;     // -1: merged into the one before
    int32_t previous;  // -1: none
    int32_t next;      // -1: none
  };
  struct Candidate {
    int32_t rank;
    int32_t position;  // of the left symbol
    int32_t left;      // the tokens when this was put on the heap; a merge since then makes it void
    int32_t right;
    int32_t result;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

class MergeTable {
 public:
  // kCorrupt names the merge that is malformed, or whose parts or result are not in the vocabulary, or whose
  // result does not stand for its parts' bytes (so that tokens of a text always give back its bytes).
  absl::Status Fill(const BpeVocabulary& vocabulary, const TokenTable& table);

  // Appends the tokens of `word`, at most INT32_MAX bytes, in O(n log n). A byte without a token of its own
  // is left out, as the reference does: some vocabularies lack bytes that their training texts never had.
  void Apply(absl::string_view word, MergeScratch* scratch, std::vector<int32_t>* tokens) const;

  size_t heap_bytes() const { return merges_.capacity() * sizeof(Merge) + ranks_.heap_bytes(); }

 private:
  struct Merge {
    int32_t left;
    int32_t right;
    int32_t result;
  };
  int32_t FindRank(int32_t left, int32_t right) const;  // -1: they do not merge
  void Consider(int32_t position, MergeScratch* scratch) const;

  std::array<int32_t, 256> byte_tokens_{};  // -1: none
  std::vector<Merge> merges_;               // [rank], less is better
  HashIndex ranks_;                         // by the pair
};

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_MERGE_TABLE_H_

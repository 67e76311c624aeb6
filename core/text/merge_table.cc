// The merges' hash table and the heap that applies them.
#include "core/text/merge_table.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/hash/hash.h"
#include "core/base/status.h"
#include "core/text/byte_alphabet.h"

namespace tessera {
namespace {

constexpr absl::string_view kMerges = "tokenizer.ggml.merges";

// Tokens by their text in the file. Of those with the same text the last counts, as in the reference's
// dictionary. Special tokens are left out: no text may turn into one by merging.
class TokenMap {
 public:
  TokenMap(const BpeVocabulary& vocabulary, const TokenTable& table) : tokens_(vocabulary.tokens) {
    index_.Reserve(tokens_.size());
    for (int32_t i = 0; i < table.size(); ++i) {
      if (!table.special(i)) index_.Put(absl::HashOf(tokens_[i]), i, Same(tokens_[i]));
    }
  }
  int32_t Find(absl::string_view text) const { return index_.Find(absl::HashOf(text), Same(text)); }

 private:
  struct HasText {
    const std::vector<absl::string_view>& tokens;
    absl::string_view text;
    bool operator()(int32_t token) const { return tokens[token] == text; }
  };
  HasText Same(absl::string_view text) const { return {tokens_, text}; }

  const std::vector<absl::string_view>& tokens_;
  HashIndex index_;
};

std::string Utf8Of(uint32_t code_point) {  // below U+0800, as all of the alphabet
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

absl::Status BadMerge(size_t index, absl::string_view message) {
  return Corrupt(kMerges, absl::StrCat("merge ", index, " ", message));
}

uint64_t HashPair(int32_t left, int32_t right) { return absl::HashOf(left, right); }

// For the heap: the least rank is at the front, the leftmost of equals.
bool Later(const MergeScratch::Candidate& a, const MergeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

absl::Status MergeTable::Fill(const BpeVocabulary& vocabulary, const TokenTable& table) {
  const TokenMap map(vocabulary, table);
  for (int byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = map.Find(Utf8Of(AlphabetCharacter(static_cast<unsigned char>(byte))));
  }
  if (vocabulary.merges.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return Corrupt(kMerges, absl::StrCat(vocabulary.merges.size(), " merges are too many"));
  }
  merges_.clear();
  merges_.reserve(vocabulary.merges.size());
  ranks_.Reserve(vocabulary.merges.size());
  std::string joined;
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const absl::string_view merge = vocabulary.merges[i];
    const size_t space = merge.find(' ');
    if (space == absl::string_view::npos || space == 0 || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != absl::string_view::npos) {
      return BadMerge(i, "is not two parts with one space between them");
    }
    joined.assign(merge.data(), space);
    joined.append(merge.data() + space + 1, merge.size() - space - 1);
    const int32_t left = map.Find(merge.substr(0, space));
    const int32_t right = map.Find(merge.substr(space + 1));
    const int32_t result = map.Find(joined);
    if (left < 0 || right < 0 || result < 0) {
      const absl::string_view which = left < 0 ? "left part" : right < 0 ? "right part" : "result";
      return BadMerge(i, absl::StrCat("has a ", which, " that is no plain token of the vocabulary"));
    }
    const absl::string_view left_bytes = table.bytes(left);
    const absl::string_view right_bytes = table.bytes(right);
    const absl::string_view bytes = table.bytes(result);
    if (bytes.size() != left_bytes.size() + right_bytes.size() ||
        bytes.substr(0, left_bytes.size()) != left_bytes || bytes.substr(left_bytes.size()) != right_bytes) {
      return BadMerge(i, absl::StrCat("makes token ", result, ", which does not stand for its parts' bytes"));
    }
    merges_.push_back({left, right, result});
    ranks_.Put(HashPair(left, right), static_cast<int32_t>(i),
               [&](int32_t rank) { return merges_[rank].left == left && merges_[rank].right == right; });
  }
  return absl::OkStatus();
}

int32_t MergeTable::FindRank(int32_t left, int32_t right) const {
  return ranks_.Find(HashPair(left, right), [&](int32_t rank) {
    return merges_[rank].left == left && merges_[rank].right == right;
  });
}

void MergeTable::Consider(int32_t position, MergeScratch* scratch) const {
  const MergeScratch::Symbol& left = scratch->symbols[position];
  if (left.next < 0) return;
  const int32_t right = scratch->symbols[left.next].token;
  const int32_t rank = FindRank(left.token, right);
  if (rank >= 0) scratch->heap.push_back({rank, position, left.token, right, merges_[rank].result});
}

void MergeTable::Apply(absl::string_view word, MergeScratch* scratch, std::vector<int32_t>* tokens) const {
  std::vector<MergeScratch::Symbol>& symbols = scratch->symbols;
  std::vector<MergeScratch::Candidate>& heap = scratch->heap;
  symbols.clear();
  heap.clear();
  for (const char c : word) {
    const int32_t token = byte_tokens_[static_cast<unsigned char>(c)];
    if (token < 0) continue;
    const auto position = static_cast<int32_t>(symbols.size());
    symbols.push_back({token, position - 1, position + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  for (size_t i = 0; i + 1 < symbols.size(); ++i) Consider(static_cast<int32_t>(i), scratch);
  std::make_heap(heap.begin(), heap.end(), Later);
  const auto consider = [&](int32_t position) {
    const size_t before = heap.size();
    Consider(position, scratch);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), Later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), Later);
    const MergeScratch::Candidate best = heap.back();
    heap.pop_back();
    MergeScratch::Symbol& left = symbols[best.position];
    if (left.token != best.left || left.next < 0) continue;
    MergeScratch::Symbol& right = symbols[left.next];
    if (right.token != best.right) continue;
    left.token = best.result;
    right.token = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    if (left.previous >= 0) consider(left.previous);
    consider(best.position);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) tokens->push_back(symbols[i].token);
}

}  // namespace tessera

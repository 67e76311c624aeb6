// Dicts: entries in their order, and an index over them once they are many.
#include <cmath>
#include <cstring>

#include "core/text/jinja/operations.h"

namespace tessera::jinja {
namespace {

constexpr size_t kFewEntries = 8;

constexpr uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

// Equal keys hash alike, whatever the kinds of their numbers. False: it cannot be a key, and the run has
// failed.
bool Hash(Run& run, const Value& key, uint64_t* hash, int depth = 0) {
  switch (key.kind) {
    case Kind::kNone:
      *hash = Mix(*hash, 1);
      return true;
    case Kind::kBool:
    case Kind::kInt:
      *hash = Mix(*hash, static_cast<uint64_t>(key.AsInt()));
      return true;
    case Kind::kFloat: {
      const double number = key.number;
      if (number == std::floor(number) && std::abs(number) < 9e18) {
        *hash = Mix(*hash, static_cast<uint64_t>(static_cast<int64_t>(number)));
      } else {
        uint64_t bits = 0;
        std::memcpy(&bits, &number, sizeof(bits));
        *hash = Mix(*hash, bits);
      }
      return true;
    }
    case Kind::kText: {
      const absl::string_view text = key.view();
      if (!run.Charge(text.size() / 64)) return false;
      size_t i = 0;
      for (; i + 8 <= text.size(); i += 8) {
        uint64_t word = 0;
        std::memcpy(&word, text.data() + i, 8);
        *hash = Mix(*hash, word);
      }
      for (; i < text.size(); ++i) *hash = Mix(*hash, static_cast<unsigned char>(text[i]));
      *hash = Mix(*hash, text.size());
      return true;
    }
    case Kind::kTuple:
      if (depth > kDeepestValue || !run.Charge(key.list->size)) break;
      for (size_t i = 0; i < key.list->size; ++i) {
        if (!Hash(run, key.list->items[i], hash, depth + 1)) return false;
      }
      *hash = Mix(*hash, key.list->size);
      return true;
    case Kind::kUndefined:
      *hash = Mix(*hash, 2);
      return true;
    default:
      break;
  }
  run.FailType(absl::StrCat("'", TypeName(key), "' cannot be a key"));
  return false;
}

// The entry's number + 1; 0: none, or the run has failed. `slot`: where it is or would be in the index.
uint32_t Search(Run& run, const Dict& dict, const Value& key, size_t* slot) {
  uint64_t hash = 0;
  if (!Hash(run, key, &hash)) return 0;
  if (dict.index == nullptr) {
    for (size_t i = 0; i < dict.size; ++i) {
      if (Equal(run, dict.entries[i].key, key) == 1) return static_cast<uint32_t>(i + 1);
      if (run.failed()) return 0;
    }
    return 0;
  }
  for (*slot = hash & (dict.slots - 1); dict.index[*slot] != 0; *slot = (*slot + 1) & (dict.slots - 1)) {
    if (!run.Charge(1)) return 0;
    if (Equal(run, dict.entries[dict.index[*slot] - 1].key, key) == 1) return dict.index[*slot];
    if (run.failed()) return 0;
  }
  return 0;
}

bool Grow(Run& run, Dict* dict) {
  const size_t capacity = dict->capacity < 4 ? 4 : dict->capacity * 2;
  Entry* entries = run.arena().Make<Entry>(capacity);
  if (entries == nullptr) {
    run.FailMemory();
    return false;
  }
  for (size_t i = 0; i < dict->size; ++i) entries[i] = dict->entries[i];
  dict->entries = entries;
  dict->capacity = capacity;
  return true;
}

// An index with room for twice the entries.
bool Index(Run& run, Dict* dict) {
  size_t slots = 32;
  while (slots < 4 * dict->size) slots *= 2;
  if (slots > UINT32_MAX) {
    run.FailMemory();
    return false;
  }
  uint32_t* index = run.arena().Make<uint32_t>(slots);
  if (index == nullptr) {
    run.FailMemory();
    return false;
  }
  dict->index = index;
  dict->slots = slots;
  for (size_t i = 0; i < dict->size; ++i) {
    uint64_t hash = 0;
    if (!run.Charge(1) || !Hash(run, dict->entries[i].key, &hash)) return false;
    size_t slot = hash & (slots - 1);
    while (index[slot] != 0) slot = (slot + 1) & (slots - 1);
    index[slot] = static_cast<uint32_t>(i + 1);
  }
  return true;
}

}  // namespace

const Value* Find(Run& run, const Dict& dict, const Value& key) {
  size_t slot = 0;
  const uint32_t found = Search(run, dict, key, &slot);
  return found == 0 ? nullptr : &dict.entries[found - 1].value;
}

const Value* FindText(Run& run, const Dict& dict, absl::string_view key) {
  Text text;
  text.data = key.data();
  text.size = key.size();
  return Find(run, dict, Value::Of(&text));
}

bool Put(Run& run, Dict* dict, const Value& key, const Value& value) {
  size_t slot = 0;
  const uint32_t found = Search(run, *dict, key, &slot);
  if (run.failed()) return false;
  if (found != 0) {
    dict->entries[found - 1].value = value;
    return true;
  }
  if (dict->size == dict->capacity && !Grow(run, dict)) return false;
  dict->entries[dict->size++] = {key, value};
  if (dict->size <= kFewEntries) return true;
  if (dict->index == nullptr || 2 * dict->size > dict->slots) return Index(run, dict);
  dict->index[slot] = static_cast<uint32_t>(dict->size);
  return true;
}

}  // namespace tessera::jinja

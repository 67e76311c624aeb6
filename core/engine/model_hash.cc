#include "core/engine/model_hash.h"

#include <algorithm>
#include <bit>
#include <string>

#include "absl/strings/match.h"
#include "core/execute/backend.h"

namespace tessera {
namespace {

void AddEntry(const std::string& key, const GgufValue& value, ContentHasher* hasher) {
  hasher->AddText(key);
  hasher->AddNumber(static_cast<uint64_t>(value.type));
  hasher->AddNumber(value.is_array ? 1 : 0);
  hasher->AddNumber(value.count());
  for (const int64_t each : value.integers) hasher->AddNumber(static_cast<uint64_t>(each));
  for (const double each : value.floats) hasher->AddNumber(std::bit_cast<uint64_t>(each));
  for (const absl::string_view each : value.strings) hasher->AddText(each);
}

}  // namespace

void AddShape(const GgufFile& file, const ModelSpec& spec, ContentHasher* hasher) {
  hasher->AddNumber(kModelHashVersion);
  hasher->AddText(spec.architecture);
  const std::string prefix = spec.architecture + ".";
  for (const auto& [key, value] : file.metadata()) {
    if (absl::StartsWith(key, prefix)) AddEntry(key, value, hasher);
  }
}

void AddTensor(const TensorSpec& tensor, ContentHasher* hasher) {
  hasher->AddText(tensor.name);
  hasher->AddNumber(static_cast<uint64_t>(tensor.type));
  hasher->AddNumber(static_cast<uint64_t>(tensor.rows));
  hasher->AddNumber(static_cast<uint64_t>(tensor.columns));
}

int64_t HashedRows(uint64_t row_bytes) {
  constexpr uint64_t kBytes = 4 << 20;
  return std::max<int64_t>(1, static_cast<int64_t>(kBytes / row_bytes) / kPackRunRows) * kPackRunRows;
}

ContentHash HashTokenizer(const GgufFile& file) {
  ContentHasher hasher;
  for (const auto& [key, value] : file.metadata()) {
    if (!absl::StartsWith(key, "tokenizer.") || absl::StartsWith(key, "tokenizer.chat_template")) continue;
    AddEntry(key, value, &hasher);
  }
  return hasher.Finish();
}

}  // namespace tessera

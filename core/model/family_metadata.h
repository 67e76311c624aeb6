// Reads "<architecture>.<suffix>" keys, each held against the range that is sensible for it. Private to
// core/model.
#ifndef TESSERA_CORE_MODEL_FAMILY_METADATA_H_
#define TESSERA_CORE_MODEL_FAMILY_METADATA_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/status.h"
#include "core/model/model_family.h"

namespace tessera {

class FamilyMetadata {
 public:
  FamilyMetadata(const GgufFile& file, const ModelFamily& family)
      : file_(file), architecture_(family.architecture) {}

  const GgufFile& file() const { return file_; }
  std::string Key(absl::string_view suffix) const { return absl::StrCat(architecture_, ".", suffix); }
  bool Has(absl::string_view suffix) const { return file_.Find(Key(suffix)) != nullptr; }

  // Without `fallback` the key must be there. The fallback itself is checked too: it comes from other keys.
  absl::StatusOr<int32_t> Int(absl::string_view suffix, int32_t least, int32_t most,
                              std::optional<int32_t> fallback = std::nullopt) const;
  absl::StatusOr<double> Number(absl::string_view suffix, double least, double most,
                                std::optional<double> fallback = std::nullopt) const;

  absl::Status Contradiction(absl::string_view message) const {
    return Corrupt(file_.file().name(), message);
  }
  absl::Status NotSupported(absl::string_view message) const {
    return Unsupported(file_.file().name(), message);
  }

 private:
  absl::Status CheckPresent(const std::string& key) const;

  const GgufFile& file_;
  const absl::string_view architecture_;
};

// Leading elements of a head that rotate, and how. `head_size` is already checked.
absl::StatusOr<RotarySpec> ReadRotary(const FamilyMetadata& metadata, const ModelFamily& family,
                                      int32_t head_size, int32_t context_tokens);

}  // namespace tessera

#endif  // TESSERA_CORE_MODEL_FAMILY_METADATA_H_

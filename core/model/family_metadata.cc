// Ranges and presence of a family's numbers.
#include "core/model/family_metadata.h"

namespace tessera {

absl::Status FamilyMetadata::CheckPresent(const std::string& key) const {
  const GgufValue* value = file_.Find(key);
  if (value == nullptr) return Contradiction(absl::StrCat("key '", key, "' is missing"));
  if (value->is_array) {
    return NotSupported(
        absl::StrCat("key '", key, "' is an array; this build wants one number for all layers"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> FamilyMetadata::Int(absl::string_view suffix, int32_t least, int32_t most,
                                            std::optional<int32_t> fallback) const {
  const std::string key = Key(suffix);
  int64_t value = fallback.value_or(0);
  if (!fallback.has_value() || file_.Find(key) != nullptr) {
    TSR_RETURN_IF_ERROR(CheckPresent(key));
    TSR_ASSIGN_OR_RETURN(value, file_.GetInt(key));
  }
  if (value < least || value > most) {
    return Contradiction(
        absl::StrCat("key '", key, "' is ", value, "; ", least, " to ", most, " is possible"));
  }
  return static_cast<int32_t>(value);
}

absl::StatusOr<double> FamilyMetadata::Number(absl::string_view suffix, double least, double most,
                                              std::optional<double> fallback) const {
  const std::string key = Key(suffix);
  double value = fallback.value_or(0);
  if (!fallback.has_value() || file_.Find(key) != nullptr) {
    TSR_RETURN_IF_ERROR(CheckPresent(key));
    TSR_ASSIGN_OR_RETURN(value, file_.GetFloat(key));
  }
  if (!(value >= least && value <= most)) {  // also for NaN
    return Contradiction(
        absl::StrCat("key '", key, "' is ", value, "; ", least, " to ", most, " is possible"));
  }
  return value;
}

}  // namespace tessera

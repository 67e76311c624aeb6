// Rotary positions from metadata: base frequencies, then linear scaling, YaRN (Peng et al., 2023,
// sections 3.2 and 3.4) or the divisors that Llama 3 files carry as a tensor.
#include <algorithm>
#include <cmath>

#include "core/model/family_metadata.h"

namespace tessera {
namespace {

constexpr absl::string_view kFactorsTensor = "rope_freqs.weight";
constexpr double kTwoPi = 6.283185307179586;

struct Scaling {
  double factor = 1;  // contexts are stretched by it
  bool yarn = false;
  double original_context = 0;           // tokens that the unscaled model was trained with
  double beta_fast = 32, beta_slow = 1;  // rotations within it, between which YaRN blends
  double magnitude = 1;
};

absl::StatusOr<Scaling> ReadScaling(const FamilyMetadata& metadata, int32_t context_tokens) {
  constexpr double kMostFactor = 1e6;
  Scaling scaling;
  std::string type = "linear";  // what a factor alone means
  if (metadata.Has("rope.scaling.type")) {
    TSR_ASSIGN_OR_RETURN(const absl::string_view named,
                         metadata.file().GetString(metadata.Key("rope.scaling.type")));
    type = std::string(named);
  }
  if (type != "none" && type != "linear" && type != "yarn") {
    return metadata.NotSupported(
        absl::StrCat("key '", metadata.Key("rope.scaling.type"), "' is '", ShownName(type),
                     "'; this build knows none, linear and yarn (and Llama 3's, which "
                     "files hold as tensor '",
                     kFactorsTensor, "')"));
  }
  scaling.yarn = type == "yarn";
  // Older files have rope.scale_linear instead; in either key 0 means none.
  const bool old_key = !metadata.Has("rope.scaling.factor") && metadata.Has("rope.scale_linear");
  TSR_ASSIGN_OR_RETURN(scaling.factor, metadata.Number(old_key ? "rope.scale_linear" : "rope.scaling.factor",
                                                       0, kMostFactor, 0));
  if (scaling.factor == 0 || type == "none") scaling.factor = 1;
  TSR_ASSIGN_OR_RETURN(scaling.magnitude, metadata.Number("rope.scaling.attn_factor", 1e-3, 1e3, 1));
  TSR_ASSIGN_OR_RETURN(scaling.original_context,
                       metadata.Number("rope.scaling.original_context_length", 1, 1 << 28, context_tokens));
  TSR_ASSIGN_OR_RETURN(scaling.beta_fast, metadata.Number("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32));
  TSR_ASSIGN_OR_RETURN(scaling.beta_slow, metadata.Number("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1));
  if (scaling.yarn && scaling.factor > 1) scaling.magnitude *= 1 + 0.1 * std::log(scaling.factor);
  return scaling;
}

// How much of frequency `i` stays unscaled: 1 for those that turn fast, 0 for the slow ones, a ramp between.
class YarnRamp {
 public:
  YarnRamp(const Scaling& scaling, double base, int32_t dimensions) {
    const auto index_with_rotations = [&](double rotations) {
      return dimensions * std::log(scaling.original_context / (rotations * kTwoPi)) / (2 * std::log(base));
    };
    low_ = std::max(0.0, std::floor(index_with_rotations(scaling.beta_fast)));
    high_ = std::min(dimensions - 1.0, std::ceil(index_with_rotations(scaling.beta_slow)));
  }
  double Unscaled(int32_t i) const {
    return 1 - std::clamp((i - low_) / std::max(0.001, high_ - low_), 0.0, 1.0);
  }

 private:
  double low_ = 0, high_ = 0;
};

// All ones where the file has no factors.
absl::StatusOr<std::vector<float>> ReadDivisors(const GgufFile& file, int32_t count) {
  std::vector<float> divisors(static_cast<size_t>(count), 1.0f);
  const GgufTensor* tensor = file.FindTensor(kFactorsTensor);
  if (tensor == nullptr) return divisors;
  const std::string place = absl::StrCat(file.file().name(), ": tensor '", kFactorsTensor, "'");
  if (tensor->type != TensorType::kF32) {
    return Unsupported(place, absl::StrCat("it is of type ", InfoOf(tensor->type).name, "; F32 is needed"));
  }
  if (tensor->columns() != static_cast<uint64_t>(count) || tensor->rows() != 1) {
    return Corrupt(place, absl::StrCat("it has ", tensor->rows(), " x ", tensor->columns(),
                                       " elements; half the rotary dimensions, ", count, ", are needed"));
  }
  TSR_RETURN_IF_ERROR(file.file().ReadAt(tensor->file_offset, divisors.data(), tensor->size_bytes));
  for (int32_t i = 0; i < count; ++i) {
    if (!std::isfinite(divisors[i]) || divisors[i] <= 0) {
      return Corrupt(place,
                     absl::StrCat("element ", i, " is ", divisors[i], "; a positive number is needed"));
    }
  }
  return divisors;
}

}  // namespace

absl::StatusOr<RotarySpec> ReadRotary(const FamilyMetadata& metadata, const ModelFamily& family,
                                      int32_t head_size, int32_t context_tokens) {
  RotarySpec rotary;
  rotary.pairing = family.pairing;
  TSR_ASSIGN_OR_RETURN(rotary.dimensions, metadata.Int("rope.dimension_count", 2, head_size, head_size));
  if (rotary.dimensions % 2 != 0) {
    return metadata.Contradiction(absl::StrCat("key '", metadata.Key("rope.dimension_count"), "' is ",
                                               rotary.dimensions, "; an even number is needed"));
  }
  TSR_ASSIGN_OR_RETURN(const double base, metadata.Number("rope.freq_base", 1.001, 1e12, 10000));
  TSR_ASSIGN_OR_RETURN(const Scaling scaling, ReadScaling(metadata, context_tokens));
  const int32_t count = rotary.dimensions / 2;
  TSR_ASSIGN_OR_RETURN(const std::vector<float> divisors, ReadDivisors(metadata.file(), count));

  rotary.magnitude = static_cast<float>(scaling.magnitude);
  const YarnRamp ramp(scaling, base, rotary.dimensions);
  for (int32_t i = 0; i < count; ++i) {
    const double unscaled = scaling.yarn ? ramp.Unscaled(i) : 0;
    const double frequency = std::pow(base, -2.0 * i / rotary.dimensions) / divisors[i];
    const double blended = frequency * unscaled + frequency / scaling.factor * (1 - unscaled);
    rotary.inverse_frequencies.push_back(static_cast<float>(blended));
  }
  return rotary;
}

}  // namespace tessera

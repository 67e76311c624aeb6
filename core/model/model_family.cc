// The tables of model families, keys and tensors. Key and tensor names are those of the GGUF specification
// and of the converters that write such files.
#include "core/model/model_family.h"

#include "absl/strings/match.h"
#include "core/base/status.h"

namespace tessera {
namespace {

// Converters permute the rows of Llama's queries and keys so that pairs lie side by side; Qwen2's stay as
// trained.
constexpr ModelFamily kFamilies[] = {
    {"llama", RotaryPairing::kInterleaved},  // Llama, Mistral, SmolLM2
    {"qwen2", RotaryPairing::kHalves},
};

// Keys below "<architecture>." that are read, or that say nothing about the computation.
constexpr const char* kKnownKeys[] = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "tensor_data_layout",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.finetuned",
};

// Keys that may stand there with the one value that asks for nothing.
struct NeutralKey {
  const char* suffix;
  double value;  // bools count as 0 and 1
};
constexpr NeutralKey kNeutralKeys[] = {
    {"expert_count", 0},
    {"expert_used_count", 0},
    {"use_parallel_residual", 0},
    {"pooling_type", 0},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"attention.max_alibi_bias", 0},
    {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.yarn_log_multiplier", 0},
};

constexpr LayerTensorRole kLayerRoles[] = {
    {"attn_norm.weight", &LayerSpec::attention_norm, Extent::kOne, Extent::kHidden, true},
    {"attn_q.weight", &LayerSpec::query, Extent::kQueries, Extent::kHidden, true},
    {"attn_q.bias", &LayerSpec::query_bias, Extent::kOne, Extent::kQueries, false},
    {"attn_k.weight", &LayerSpec::key, Extent::kKeys, Extent::kHidden, true},
    {"attn_k.bias", &LayerSpec::key_bias, Extent::kOne, Extent::kKeys, false},
    {"attn_v.weight", &LayerSpec::value, Extent::kKeys, Extent::kHidden, true},
    {"attn_v.bias", &LayerSpec::value_bias, Extent::kOne, Extent::kKeys, false},
    {"attn_output.weight", &LayerSpec::output, Extent::kHidden, Extent::kQueries, true},
    {"attn_output.bias", &LayerSpec::output_bias, Extent::kOne, Extent::kHidden, false},
    {"ffn_norm.weight", &LayerSpec::feed_forward_norm, Extent::kOne, Extent::kHidden, true},
    {"ffn_gate.weight", &LayerSpec::gate, Extent::kFeedForward, Extent::kHidden, true},
    {"ffn_up.weight", &LayerSpec::up, Extent::kFeedForward, Extent::kHidden, true},
    {"ffn_down.weight", &LayerSpec::down, Extent::kHidden, Extent::kFeedForward, true},
};

absl::Status CheckFamilyKey(const GgufFile& file, absl::string_view suffix, absl::string_view key,
                            const GgufValue& value) {
  for (const char* known : kKnownKeys) {
    if (suffix == known) return absl::OkStatus();
  }
  for (const NeutralKey& neutral : kNeutralKeys) {
    if (suffix != neutral.suffix) continue;
    const bool scalar = !value.is_array && value.type != GgufType::kString;
    const double found = !scalar                   ? -1
                         : IsGgufFloat(value.type) ? value.floats[0]
                                                   : static_cast<double>(value.integers[0]);
    if (found == neutral.value) return absl::OkStatus();
    return Unsupported(file.file().name(),
                       absl::StrCat("key '", key, "' asks for something this build cannot do; only ",
                                    neutral.value, " is supported"));
  }
  return Unsupported(
      file.file().name(),
      absl::StrCat("key '", ShownName(key), "' is not known to this build and may change the results"));
}

}  // namespace

absl::StatusOr<const ModelFamily*> FindModelFamily(const GgufFile& file) {
  const absl::StatusOr<absl::string_view> architecture = file.GetString("general.architecture");
  if (!architecture.ok()) return Corrupt("", architecture.status().message());
  std::string known;
  for (const ModelFamily& family : kFamilies) {
    if (*architecture == family.architecture) return &family;
    absl::StrAppend(&known, known.empty() ? "" : ", ", family.architecture);
  }
  return Unsupported(file.file().name(),
                     absl::StrCat("key 'general.architecture' is '", ShownName(*architecture),
                                  "'; this build knows: ", known));
}

absl::Status CheckKeys(const GgufFile& file, const ModelFamily& family) {
  if (file.Find("general.type") != nullptr) {
    TSR_ASSIGN_OR_RETURN(const absl::string_view type, file.GetString("general.type"));
    if (type != "model") {
      return Unsupported(file.file().name(), absl::StrCat("key 'general.type' is '", ShownName(type),
                                                          "'; a file of type 'model' is needed"));
    }
  }
  if (file.Find("split.count") != nullptr) {
    TSR_ASSIGN_OR_RETURN(const int64_t parts, file.GetInt("split.count"));
    if (parts > 1) {
      return Unsupported(file.file().name(), absl::StrCat("key 'split.count' says that this is one of ",
                                                          parts, " parts; merge them into one file"));
    }
  }
  const std::string prefix = absl::StrCat(family.architecture, ".");
  for (const auto& [key, value] : file.metadata()) {
    if (!absl::StartsWith(key, prefix)) continue;
    TSR_RETURN_IF_ERROR(CheckFamilyKey(file, absl::string_view(key).substr(prefix.size()), key, value));
  }
  return absl::OkStatus();
}

absl::Span<const LayerTensorRole> LayerTensorRoles() { return kLayerRoles; }

}  // namespace tessera

// ReadModelSpec: sizes from the metadata, then every tensor against them.
#include "core/model/model_spec.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/status.h"
#include "core/model/family_metadata.h"
#include "core/model/model_family.h"

namespace tessera {
namespace {

constexpr int32_t kMostLayers = 4096;
constexpr int32_t kMostHeads = 4096;
constexpr int32_t kMostHeadSize = 1024;
constexpr int32_t kMostHidden = 1 << 20;
constexpr int32_t kMostFeedForward = 1 << 24;
constexpr int32_t kMostVocabulary = 1 << 24;
constexpr int32_t kMostContext = 1 << 28;

class SpecReader {
 public:
  SpecReader(const GgufFile& file, const ModelFamily& family)
      : file_(file), family_(family), metadata_(file, family), used_(file.tensors().size(), false) {}

  absl::StatusOr<ModelSpec> Read() {
    TSR_RETURN_IF_ERROR(ReadSizes());
    TSR_RETURN_IF_ERROR(ReadAttention());
    TSR_ASSIGN_OR_RETURN(spec_.rotary,
                         ReadRotary(metadata_, family_, attention_.head_size, spec_.context_tokens));
    TSR_RETURN_IF_ERROR(BindOuterTensors());
    for (int32_t layer = 0; layer < layers_; ++layer) TSR_RETURN_IF_ERROR(BindLayer(layer));
    TSR_RETURN_IF_ERROR(CheckAllUsed());
    CutSums();
    return std::move(spec_);
  }

 private:
  absl::Status ReadSizes();
  absl::Status ReadAttention();
  absl::Status BindOuterTensors();
  absl::Status BindLayer(int32_t layer);
  absl::Status CheckAllUsed() const;
  void CutSums();

  // Appends the tensor to the spec. kNoTensor where it is not there and not required. rows 1 is a vector.
  absl::StatusOr<TensorId> Bind(const std::string& name, int64_t rows, int64_t columns, bool required);
  absl::Status CheckTensor(const GgufTensor& tensor, int64_t rows, int64_t columns) const;
  int64_t SizeOf(Extent extent) const;
  int32_t CacheGroupOf(int32_t layer, const AttentionSpec& attention);
  absl::string_view place() const { return file_.file().name(); }

  const GgufFile& file_;
  const ModelFamily& family_;
  const FamilyMetadata metadata_;
  ModelSpec spec_;
  AttentionSpec attention_;  // the same in all layers of the families so far
  int32_t layers_ = 0;
  std::vector<bool> used_;  // by the file's tensor index
};

absl::Status SpecReader::ReadSizes() {
  spec_.architecture = family_.architecture;
  if (file_.Find("general.name") != nullptr) {
    TSR_ASSIGN_OR_RETURN(const absl::string_view name, file_.GetString("general.name"));
    spec_.name = std::string(name);
  }
  TSR_ASSIGN_OR_RETURN(layers_, metadata_.Int("block_count", 1, kMostLayers));
  TSR_ASSIGN_OR_RETURN(spec_.context_tokens, metadata_.Int("context_length", 1, kMostContext));
  TSR_ASSIGN_OR_RETURN(spec_.hidden_size, metadata_.Int("embedding_length", 1, kMostHidden));
  TSR_ASSIGN_OR_RETURN(spec_.feed_forward_size, metadata_.Int("feed_forward_length", 1, kMostFeedForward));
  TSR_ASSIGN_OR_RETURN(const double epsilon, metadata_.Number("attention.layer_norm_rms_epsilon", 1e-12, 1));
  spec_.norm_epsilon = static_cast<float>(epsilon);
  return absl::OkStatus();
}

absl::Status SpecReader::ReadAttention() {
  AttentionSpec& a = attention_;
  TSR_ASSIGN_OR_RETURN(a.heads, metadata_.Int("attention.head_count", 1, kMostHeads));
  TSR_ASSIGN_OR_RETURN(a.kv_heads, metadata_.Int("attention.head_count_kv", 1, a.heads, a.heads));
  if (a.heads % a.kv_heads != 0) {
    return metadata_.Contradiction(absl::StrCat("key '", metadata_.Key("attention.head_count_kv"), "' is ",
                                                a.kv_heads, ", which does not divide the ", a.heads,
                                                " query heads"));
  }
  if (!metadata_.Has("attention.key_length") && spec_.hidden_size % a.heads != 0) {
    return metadata_.Contradiction(absl::StrCat("key '", metadata_.Key("attention.head_count"), "' is ",
                                                a.heads, ", which does not divide the hidden size ",
                                                spec_.hidden_size, ", and there is no '",
                                                metadata_.Key("attention.key_length"), "'"));
  }
  TSR_ASSIGN_OR_RETURN(a.head_size,
                       metadata_.Int("attention.key_length", 1, kMostHeadSize, spec_.hidden_size / a.heads));
  TSR_ASSIGN_OR_RETURN(const int32_t value_size,
                       metadata_.Int("attention.value_length", 1, kMostHeadSize, a.head_size));
  if (value_size != a.head_size) {
    return metadata_.NotSupported(absl::StrCat("key '", metadata_.Key("attention.value_length"), "' is ",
                                               value_size, "; this build wants values as long as keys, ",
                                               a.head_size));
  }
  TSR_ASSIGN_OR_RETURN(a.window_tokens, metadata_.Int("attention.sliding_window", 0, kMostContext, 0));
  a.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(a.head_size)));
  return absl::OkStatus();
}

int64_t SpecReader::SizeOf(Extent extent) const {
  switch (extent) {
    case Extent::kOne:
      return 1;
    case Extent::kHidden:
      return spec_.hidden_size;
    case Extent::kQueries:
      return int64_t{attention_.heads} * attention_.head_size;
    case Extent::kKeys:
      return int64_t{attention_.kv_heads} * attention_.head_size;
    case Extent::kFeedForward:
      return spec_.feed_forward_size;
  }
  return 0;
}

absl::Status SpecReader::CheckTensor(const GgufTensor& tensor, int64_t rows, int64_t columns) const {
  if (static_cast<int64_t>(tensor.columns()) != columns || static_cast<int64_t>(tensor.rows()) != rows ||
      tensor.shape[2] != 1 || tensor.shape[3] != 1) {
    return Corrupt(
        place(), absl::StrCat("tensor '", ShownName(tensor.name), "' has the shape [", tensor.shape[0], ", ",
                              tensor.shape[1], ", ", tensor.shape[2], ", ", tensor.shape[3],
                              "]; the metadata says [", columns, ", ", rows, ", 1, 1]"));
  }
  if (rows == 1 && tensor.type != TensorType::kF32) {
    return Unsupported(place(), absl::StrCat("tensor '", ShownName(tensor.name), "' is a vector of type ",
                                             InfoOf(tensor.type).name, "; F32 is needed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorId> SpecReader::Bind(const std::string& name, int64_t rows, int64_t columns,
                                          bool required) {
  const GgufTensor* tensor = file_.FindTensor(name);
  if (tensor == nullptr) {
    if (!required) return kNoTensor;
    return Corrupt(place(), absl::StrCat("tensor '", name, "' is missing"));
  }
  TSR_RETURN_IF_ERROR(CheckTensor(*tensor, rows, columns));
  used_[static_cast<size_t>(tensor - file_.tensors().data())] = true;
  spec_.tensors.push_back({name, tensor->type, rows, columns, tensor->file_offset, tensor->size_bytes});
  return static_cast<TensorId>(spec_.tensors.size() - 1);
}

absl::Status SpecReader::BindOuterTensors() {
  const GgufTensor* embedding = file_.FindTensor("token_embd.weight");
  if (embedding == nullptr) return Corrupt(place(), "tensor 'token_embd.weight' is missing");
  if (embedding->rows() < 2 || embedding->rows() > kMostVocabulary) {
    return Corrupt(place(),
                   absl::StrCat("tensor 'token_embd.weight' has ", embedding->rows(),
                                " rows, one for each token; 2 to ", kMostVocabulary, " are possible"));
  }
  spec_.vocabulary_size = static_cast<int32_t>(embedding->rows());
  TSR_ASSIGN_OR_RETURN(const int32_t stated,
                       metadata_.Int("vocab_size", 1, kMostVocabulary, spec_.vocabulary_size));
  if (stated != spec_.vocabulary_size) {
    return metadata_.Contradiction(absl::StrCat("key '", metadata_.Key("vocab_size"), "' is ", stated,
                                                ", but tensor 'token_embd.weight' has ",
                                                spec_.vocabulary_size, " rows"));
  }
  TSR_ASSIGN_OR_RETURN(spec_.embedding,
                       Bind("token_embd.weight", spec_.vocabulary_size, spec_.hidden_size, true));
  TSR_ASSIGN_OR_RETURN(spec_.output_norm, Bind("output_norm.weight", 1, spec_.hidden_size, true));
  TSR_ASSIGN_OR_RETURN(spec_.head, Bind("output.weight", spec_.vocabulary_size, spec_.hidden_size, false));
  if (spec_.head == kNoTensor) spec_.head = spec_.embedding;
  return absl::OkStatus();
}

int32_t SpecReader::CacheGroupOf(int32_t layer, const AttentionSpec& attention) {
  size_t i = 0;
  for (; i < spec_.cache_groups.size(); ++i) {
    const CacheGroupSpec& group = spec_.cache_groups[i];
    if (group.kv_heads == attention.kv_heads && group.head_size == attention.head_size &&
        group.window_tokens == attention.window_tokens) {
      break;
    }
  }
  if (i == spec_.cache_groups.size()) {
    spec_.cache_groups.push_back({attention.kv_heads, attention.head_size, attention.window_tokens, {}});
  }
  spec_.cache_groups[i].layers.push_back(layer);
  return static_cast<int32_t>(i);
}

absl::Status SpecReader::BindLayer(int32_t layer) {
  LayerSpec bound;
  bound.attention = attention_;
  for (const LayerTensorRole& role : LayerTensorRoles()) {
    TSR_ASSIGN_OR_RETURN(bound.*role.member, Bind(absl::StrCat("blk.", layer, ".", role.suffix),
                                                  SizeOf(role.rows), SizeOf(role.columns), role.required));
  }
  bound.cache_group = CacheGroupOf(layer, attention_);
  spec_.layers.push_back(bound);
  return absl::OkStatus();
}

absl::Status SpecReader::CheckAllUsed() const {
  for (size_t i = 0; i < used_.size(); ++i) {
    const std::string& name = file_.tensors()[i].name;
    if (used_[i] || name == "rope_freqs.weight") continue;  // ReadRotary has taken that one
    return Unsupported(place(), absl::StrCat("tensor '", ShownName(name),
                                             "' is not known to this build and may change the results"));
  }
  return absl::OkStatus();
}

// One cut for all layers, at the blocks of the coarsest type among them: a rank then has the same heads in
// every layer, and its cache one shape.
void SpecReader::CutSums() {
  int64_t block_columns = 1;
  for (const LayerSpec& layer : spec_.layers) {
    const TensorType type = spec_.tensors[static_cast<size_t>(layer.output)].type;
    block_columns = std::max<int64_t>(block_columns, InfoOf(type).block_elements);
  }
  for (LayerSpec& layer : spec_.layers) {
    const AttentionSpec& a = layer.attention;
    layer.output_fold = FoldOfGroups(a.kv_heads, int64_t{a.heads / a.kv_heads} * a.head_size, block_columns);
    layer.down_fold = FoldOfColumns(spec_.feed_forward_size);
  }
  spec_.part.vocabulary_cuts = {0, spec_.vocabulary_size};
}

}  // namespace

int64_t ModelSpec::parameters() const {
  int64_t sum = 0;
  for (const TensorSpec& tensor : tensors) sum += tensor.rows * tensor.columns;
  return sum;
}

uint64_t ModelSpec::bytes_per_token() const {
  uint64_t sum = 0;
  for (const TensorSpec& tensor : tensors) sum += tensor.size_bytes;
  if (head == embedding || embedding == kNoTensor) return sum;
  const TensorSpec& table = tensors[static_cast<size_t>(embedding)];
  return sum - table.size_bytes + RowBytes(table.type, static_cast<uint64_t>(table.columns));
}

absl::StatusOr<ModelSpec> ReadModelSpec(const GgufFile& file) {
  TSR_ASSIGN_OR_RETURN(const ModelFamily* family, FindModelFamily(file));
  TSR_RETURN_IF_ERROR(CheckKeys(file, *family));
  return SpecReader(file, *family).Read();
}

}  // namespace tessera

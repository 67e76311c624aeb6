// The table of rules, and its use on a spec.
#include "core/parallel/partition.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"

namespace tessera {
namespace {

constexpr int32_t kLargestShare = 1 << 20;

// What a tensor's rows or columns are, as far as ranks share them.
enum class Axis : int32_t { kWhole, kQueries, kKeys, kFeedForward, kVocabulary };

struct LayerRule {
  TensorId LayerSpec::*member;
  Axis rows;
  Axis columns;
};
constexpr LayerRule kLayerRules[] = {
    {&LayerSpec::attention_norm, Axis::kWhole, Axis::kWhole},
    {&LayerSpec::query, Axis::kQueries, Axis::kWhole},
    {&LayerSpec::query_bias, Axis::kWhole, Axis::kQueries},
    {&LayerSpec::key, Axis::kKeys, Axis::kWhole},
    {&LayerSpec::key_bias, Axis::kWhole, Axis::kKeys},
    {&LayerSpec::value, Axis::kKeys, Axis::kWhole},
    {&LayerSpec::value_bias, Axis::kWhole, Axis::kKeys},
    {&LayerSpec::output, Axis::kWhole, Axis::kQueries},
    {&LayerSpec::output_bias, Axis::kWhole, Axis::kWhole},
    {&LayerSpec::feed_forward_norm, Axis::kWhole, Axis::kWhole},
    {&LayerSpec::gate, Axis::kFeedForward, Axis::kWhole},
    {&LayerSpec::up, Axis::kFeedForward, Axis::kWhole},
    {&LayerSpec::down, Axis::kWhole, Axis::kFeedForward},
};

struct Range {
  int64_t first = 0;
  int64_t end = 0;
};

class Planner {
 public:
  Planner(const ModelSpec& whole, const ShardRequest& request)
      : whole_(whole),
        request_(request),
        end_layer_(request.end_layer < 0 ? static_cast<int32_t>(whole.layers.size()) : request.end_layer) {}

  absl::StatusOr<ShardPlan> Plan() {
    TSR_RETURN_IF_ERROR(CheckRequest());
    CopySizes();
    CutVocabulary();
    TSR_RETURN_IF_ERROR(AddOuterTensors());
    for (int32_t layer = request_.first_layer; layer < end_layer_; ++layer) {
      TSR_RETURN_IF_ERROR(AddLayer(layer));
    }
    return std::move(plan_);
  }

 private:
  absl::Status CheckRequest() const;
  void CopySizes();
  void CutVocabulary();
  absl::Status AddLayer(int32_t index);
  absl::Status AddOuterTensors();
  // The tensor's part by the rule, appended to the plan. kNoTensor stays it.
  absl::StatusOr<TensorId> Add(TensorId tensor, const LayerSpec* layer, Axis rows, Axis columns);
  Range Own(Axis axis, const LayerSpec* layer, int64_t size) const;

  size_t rank() const { return static_cast<size_t>(request_.rank); }

  const ModelSpec& whole_;
  const ShardRequest& request_;
  const int32_t end_layer_;
  ShardPlan plan_;
};

absl::Status Planner::CheckRequest() const {
  const ShardRequest& r = request_;
  if (r.ranks < 1 || r.ranks > kMostTensorRanks) {
    return InvalidArgument("tensor ranks", absl::StrCat(r.ranks, "; 1 to ", kMostTensorRanks,
                                                        " can share a layer: its sums have no more parts"));
  }
  if (r.rank < 0 || r.rank >= r.ranks) {
    return InvalidArgument("tensor rank", absl::StrCat(r.rank, " is none of ", r.ranks, " ranks"));
  }
  if (!r.shares.empty() && r.shares.size() != static_cast<size_t>(r.ranks)) {
    return InvalidArgument("shares of the ranks", absl::StrCat("there are ", r.shares.size(), " for ",
                                                               r.ranks, " ranks; one for each is needed"));
  }
  for (const int32_t share : r.shares) {
    if (share < 1 || share > kLargestShare) {
      return InvalidArgument("shares of the ranks",
                             absl::StrCat(share, "; each is from 1 to ", kLargestShare));
    }
  }
  if (r.first_layer < 0 || r.first_layer >= end_layer_ ||
      end_layer_ > static_cast<int32_t>(whole_.layers.size())) {
    return InvalidArgument("layers of the stage",
                           absl::StrCat("[", r.first_layer, ", ", end_layer_, ") is no part of the model's ",
                                        whole_.layers.size(), " layers"));
  }
  if (whole_.part.ranks != 1) return InvalidArgument("model", "it is one rank's part already");
  return absl::OkStatus();
}

void Planner::CopySizes() {
  ModelSpec& spec = plan_.spec;
  spec = whole_;
  spec.layers.clear();
  spec.tensors.clear();
  spec.embedding = spec.output_norm = spec.head = kNoTensor;
  for (CacheGroupSpec& group : spec.cache_groups) group.layers.clear();
  spec.part.rank = request_.rank;
  spec.part.ranks = request_.ranks;
  spec.part.first_layer = request_.first_layer;
  spec.part.has_embedding = request_.first_layer == 0;
  spec.part.has_head = end_layer_ == static_cast<int32_t>(whole_.layers.size());
}

// Whole units; the last rank that has any takes what is left over.
void Planner::CutVocabulary() {
  const int32_t units = std::max<int32_t>(1, static_cast<int32_t>(whole_.vocabulary_size / kVocabularyUnit));
  std::vector<int32_t> cuts = CutByShares(units, request_.ranks, request_.shares);
  for (int32_t& cut : cuts) {
    cut = cut == units ? whole_.vocabulary_size : cut * static_cast<int32_t>(kVocabularyUnit);
  }
  plan_.spec.part.vocabulary_cuts = std::move(cuts);
}

Range Planner::Own(Axis axis, const LayerSpec* layer, int64_t size) const {
  switch (axis) {
    case Axis::kWhole:
      return {0, size};
    case Axis::kQueries:
      return {layer->output_fold.first_column(request_.rank), layer->output_fold.end_column(request_.rank)};
    case Axis::kKeys: {  // `layer` has the whole model's heads
      const int64_t group = layer->attention.heads / layer->attention.kv_heads;
      return {layer->output_fold.first_column(request_.rank) / group,
              layer->output_fold.end_column(request_.rank) / group};
    }
    case Axis::kFeedForward:
      return {layer->down_fold.first_column(request_.rank), layer->down_fold.end_column(request_.rank)};
    case Axis::kVocabulary:
      return {plan_.spec.part.vocabulary_cuts[rank()], plan_.spec.part.vocabulary_cuts[rank() + 1]};
  }
  return {};
}

absl::StatusOr<TensorId> Planner::Add(TensorId tensor, const LayerSpec* layer, Axis rows, Axis columns) {
  if (tensor == kNoTensor) return kNoTensor;
  TensorSpec local = whole_.tensors[static_cast<size_t>(tensor)];
  const bool vector = local.rows == 1;
  const int64_t block = InfoOf(local.type).block_elements;
  const Range own_rows = Own(rows, layer, local.rows);
  Range own_columns = Own(columns, layer, local.columns);
  if (own_columns.first < own_columns.end) {
    own_columns.first = own_columns.first / block * block;
    own_columns.end = std::min(local.columns, (own_columns.end + block - 1) / block * block);
  }
  TensorSlice slice;
  slice.whole = tensor;
  slice.first_row = own_rows.first;
  slice.first_column = own_columns.first;
  local.rows = own_rows.end - own_rows.first;
  local.columns = own_columns.end - own_columns.first;
  if (!vector && local.rows == 1) {  // backends take one row for a vector
    return Unsupported(absl::StrCat("tensor '", local.name, "'"),
                       absl::StrCat("rank ", request_.rank, " of ", request_.ranks,
                                    " would have a single row of it; take other shares or fewer ranks"));
  }
  local.size_bytes =
      static_cast<uint64_t>(local.rows) * RowBytes(local.type, static_cast<uint64_t>(local.columns));
  plan_.spec.tensors.push_back(std::move(local));
  plan_.slices.push_back(slice);
  return static_cast<TensorId>(plan_.slices.size() - 1);
}

absl::Status Planner::AddLayer(int32_t index) {
  LayerSpec layer = whole_.layers[static_cast<size_t>(index)];
  for (FoldSpec* fold : {&layer.output_fold, &layer.down_fold}) {
    if (fold->columns.size() < 2) {
      return Unsupported(absl::StrCat("layer ", index), "it does not say how its sums are cut");
    }
    fold->rank_leaves = CutByShares(fold->leaves(), request_.ranks, request_.shares);
    fold->rank = request_.rank;
  }
  LayerSpec local = layer;
  for (const LayerRule& rule : kLayerRules) {
    TSR_ASSIGN_OR_RETURN(local.*rule.member, Add(layer.*rule.member, &layer, rule.rows, rule.columns));
  }
  const AttentionSpec& attention = layer.attention;
  const Range queries = Own(Axis::kQueries, &layer, 0);
  local.attention.heads = static_cast<int32_t>((queries.end - queries.first) / attention.head_size);
  local.attention.kv_heads = local.attention.heads / (attention.heads / attention.kv_heads);
  const Range columns = Own(Axis::kFeedForward, &layer, 0);
  plan_.spec.feed_forward_size = static_cast<int32_t>(columns.end - columns.first);
  CacheGroupSpec& group = plan_.spec.cache_groups[static_cast<size_t>(layer.cache_group)];
  group.kv_heads = local.attention.kv_heads;
  group.layers.push_back(static_cast<int32_t>(plan_.spec.layers.size()));
  plan_.spec.layers.push_back(std::move(local));
  return absl::OkStatus();
}

absl::Status Planner::AddOuterTensors() {
  ModelSpec& spec = plan_.spec;
  if (spec.part.has_embedding) {
    TSR_ASSIGN_OR_RETURN(spec.embedding, Add(whole_.embedding, nullptr, Axis::kVocabulary, Axis::kWhole));
  }
  if (!spec.part.has_head) return absl::OkStatus();
  TSR_ASSIGN_OR_RETURN(spec.output_norm, Add(whole_.output_norm, nullptr, Axis::kWhole, Axis::kWhole));
  if (whole_.head == whole_.embedding && spec.part.has_embedding) {
    spec.head = spec.embedding;
    return absl::OkStatus();
  }
  TSR_ASSIGN_OR_RETURN(spec.head, Add(whole_.head, nullptr, Axis::kVocabulary, Axis::kWhole));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ShardPlan> PlanShard(const ModelSpec& whole, const ShardRequest& request) {
  return Planner(whole, request).Plan();
}

std::vector<int32_t> CutByShares(int32_t count, int32_t ranks, const std::vector<int32_t>& shares) {
  int64_t sum = 0;
  for (int32_t r = 0; r < ranks; ++r) sum += shares.empty() ? 1 : shares[static_cast<size_t>(r)];
  std::vector<int32_t> cuts = {0};
  int64_t before = 0;
  for (int32_t r = 0; r < ranks; ++r) {
    before += shares.empty() ? 1 : shares[static_cast<size_t>(r)];
    cuts.push_back(static_cast<int32_t>(count * before / sum));
  }
  return cuts;
}

}  // namespace tessera

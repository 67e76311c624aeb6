// The partition's rules on random shapes: every row and column of every tensor has the owners that it should
// have, and what ranks have for themselves adds up to the model.
#include "core/parallel/partition.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "core/base/status.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

ModelSpec SpecOf(const TinyModelOptions& options) {
  const auto file = GgufFile::Read(FileOf(MakeTinyModel(options)));
  EXPECT_TRUE(file.ok()) << file.status();
  const absl::StatusOr<ModelSpec> spec = ReadModelSpec(**file);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

TinyModelOptions RandomOptions(std::mt19937& random) {
  const auto among = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  TinyModelOptions options;
  const bool blocks = among(0, 1) == 1;  // of 256
  options.layers = among(1, 3);
  options.hidden = blocks ? 256 : 32 * among(1, 3);
  options.kv_heads = among(1, 9);
  options.head_size = blocks ? 80 : 16 * among(1, 3);
  options.heads = options.kv_heads * among(1, 3);
  if (blocks) options.heads = options.kv_heads * 16;  // 80 * 16 is a multiple of 256
  options.feed_forward = (blocks ? 256 : 32) * among(1, 9);
  options.tied_head = among(0, 1) == 1;
  options.qkv_bias = among(0, 1) == 1;
  options.output_bias = among(0, 1) == 1;
  const TensorType types[] = {TensorType::kQ4_K, TensorType::kQ6_K, TensorType::kQ8_0, TensorType::kF16};
  options.attention_type = blocks ? types[among(0, 3)] : types[3];
  options.feed_forward_type = blocks ? types[among(0, 3)] : TensorType::kQ4_0;
  options.seed = random();
  return options;
}

// The cut is along columns where ranks share the input.
bool IsCutByColumns(const std::string& name) {
  return name.find("attn_output.weight") != std::string::npos || name.find("ffn_down") != std::string::npos ||
         name.find(".bias") != std::string::npos;
}

// How often each row (or column) of a whole tensor is had by the ranks of a stage.
struct Owners {
  std::vector<int32_t> counts;
  bool all_whole = true;  // each rank has all of it
};

using AllOwners = std::map<std::string, Owners>;

void Count(const ModelSpec& whole, const ShardPlan& plan, AllOwners* owners) {
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    const TensorSlice& slice = plan.slices[i];
    const TensorSpec& local = plan.spec.tensors[i];
    const TensorSpec& from = whole.tensors[static_cast<size_t>(slice.whole)];
    ASSERT_EQ(local.name, from.name);
    ASSERT_LE(slice.first_row + local.rows, from.rows) << from.name;
    ASSERT_LE(slice.first_column + local.columns, from.columns) << from.name;
    if (local.columns > 0) {
      ASSERT_EQ(slice.first_column % InfoOf(from.type).block_elements, 0) << from.name;
    }
    ASSERT_EQ(local.size_bytes,
              static_cast<uint64_t>(local.rows) * RowBytes(local.type, static_cast<uint64_t>(local.columns)));
    Owners& of = (*owners)[local.name];
    const bool by_columns = IsCutByColumns(from.name);
    of.counts.resize(static_cast<size_t>(by_columns ? from.columns : from.rows), 0);
    of.all_whole = of.all_whole && local.rows == from.rows && local.columns == from.columns;
    ASSERT_EQ(by_columns ? local.rows : local.columns, by_columns ? from.rows : from.columns) << from.name;
    const int64_t first = by_columns ? slice.first_column : slice.first_row;
    const int64_t count = by_columns ? local.columns : local.rows;
    for (int64_t at = first; at < first + count; ++at) ++of.counts[static_cast<size_t>(at)];
  }
}

bool IsShared(const std::string& name) {
  return name.find("norm") == std::string::npos && name.find("attn_output.bias") == std::string::npos;
}

TEST(Partition, EveryElementHasOneOwnerAndLocalSizesAddUp) {
  std::mt19937 random(5);
  for (int round = 0; round < 30; ++round) {
    const ModelSpec whole = SpecOf(RandomOptions(random));
    ShardRequest request;
    request.ranks = 1 + static_cast<int32_t>(random() % 8);
    if (random() % 2 == 0) {
      for (int32_t r = 0; r < request.ranks; ++r) {
        request.shares.push_back(1 + static_cast<int32_t>(random() % 5));
      }
    }
    AllOwners owners;
    std::vector<int32_t> heads(whole.layers.size()), kv_heads(whole.layers.size());
    int64_t feed_forward = 0;
    int32_t group_kv_heads = 0;
    for (request.rank = 0; request.rank < request.ranks; ++request.rank) {
      const absl::StatusOr<ShardPlan> plan = PlanShard(whole, request);
      ASSERT_TRUE(plan.ok()) << plan.status();
      ASSERT_NO_FATAL_FAILURE(Count(whole, *plan, &owners));
      const ModelSpec& local = plan->spec;
      ASSERT_EQ(local.layers.size(), whole.layers.size());
      feed_forward += local.feed_forward_size;
      group_kv_heads += local.cache_groups[0].kv_heads;
      for (size_t i = 0; i < local.layers.size(); ++i) {
        const AttentionSpec& attention = local.layers[i].attention;
        heads[i] += attention.heads;
        kv_heads[i] += attention.kv_heads;
        ASSERT_EQ(attention.heads * whole.layers[i].attention.kv_heads,
                  attention.kv_heads * whole.layers[i].attention.heads);
        ASSERT_EQ(attention.kv_heads, local.cache_groups[0].kv_heads);
        const auto size_of = [&](TensorId tensor) { return local.tensors[static_cast<size_t>(tensor)]; };
        ASSERT_EQ(size_of(local.layers[i].query).rows, int64_t{attention.heads} * attention.head_size);
        ASSERT_EQ(size_of(local.layers[i].key).rows, int64_t{attention.kv_heads} * attention.head_size);
        ASSERT_EQ(size_of(local.layers[i].gate).rows, local.feed_forward_size);
        ASSERT_EQ(size_of(local.layers[i].down).columns, local.feed_forward_size);
      }
    }
    for (size_t i = 0; i < whole.layers.size(); ++i) {
      ASSERT_EQ(heads[i], whole.layers[i].attention.heads);
      ASSERT_EQ(kv_heads[i], whole.layers[i].attention.kv_heads);
    }
    ASSERT_EQ(feed_forward, whole.feed_forward_size);
    ASSERT_EQ(group_kv_heads, whole.cache_groups[0].kv_heads);
    ASSERT_EQ(owners.size(), whole.tensors.size());
    for (const auto& [name, of] : owners) {
      if (!IsShared(name)) {
        ASSERT_TRUE(of.all_whole) << name;
        continue;
      }
      // Only the output projection's blocks may be on two ranks: those in which the heads of both end.
      const bool straddles = name.find("attn_output.weight") != std::string::npos;
      for (size_t at = 0; at < of.counts.size(); ++at) {
        ASSERT_GE(of.counts[at], 1) << name << " at " << at;
        ASSERT_LE(of.counts[at], straddles ? 2 : 1) << name << " at " << at;
      }
    }
  }
}

TEST(Partition, StagesShareLayersAndTheEndsHaveTheTables) {
  for (const bool tied : {true, false}) {
    TinyModelOptions options;
    options.layers = 5;
    options.tied_head = tied;
    const ModelSpec whole = SpecOf(options);
    const std::pair<int32_t, int32_t> stages[] = {{0, 2}, {2, 3}, {3, 5}};
    std::set<std::string> names;
    for (const auto& [first, end] : stages) {
      ShardRequest request;
      request.first_layer = first;
      request.end_layer = end;
      const absl::StatusOr<ShardPlan> plan = PlanShard(whole, request);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const ModelSpec& spec = plan->spec;
      EXPECT_EQ(spec.layers.size(), static_cast<size_t>(end - first));
      EXPECT_EQ(spec.part.first_layer, first);
      EXPECT_EQ(spec.part.has_embedding, first == 0);
      EXPECT_EQ(spec.part.has_head, end == 5);
      EXPECT_EQ(spec.embedding != kNoTensor, first == 0);
      EXPECT_EQ(spec.head != kNoTensor, end == 5);
      EXPECT_EQ(spec.output_norm != kNoTensor, end == 5);
      EXPECT_EQ(spec.cache_groups.size(), whole.cache_groups.size());
      EXPECT_EQ(spec.cache_groups[0].layers.size(), spec.layers.size());
      for (const TensorSpec& tensor : spec.tensors) {
        const bool again = !names.insert(tensor.name).second;
        EXPECT_EQ(again, tied && end == 5 && tensor.name == "token_embd.weight") << tensor.name;
      }
    }
    EXPECT_EQ(names.size(), whole.tensors.size());
  }
}

TEST(Partition, OfOneRankIsTheModel) {
  const ModelSpec whole = SpecOf(TinyQwen2Options());
  const absl::StatusOr<ShardPlan> plan = PlanShard(whole, {});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->spec.bytes_per_token(), whole.bytes_per_token());
  EXPECT_EQ(plan->spec.parameters(), whole.parameters());
  EXPECT_EQ(plan->spec.feed_forward_size, whole.feed_forward_size);
}

TEST(Partition, RanksWithoutHeadsHaveTensorsWithoutRows) {
  TinyModelOptions options;
  options.kv_heads = 3;
  options.heads = 6;
  options.head_size = 16;
  const ModelSpec whole = SpecOf(options);
  ShardRequest request;
  request.ranks = 8;
  const absl::StatusOr<ShardPlan> plan = PlanShard(whole, request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->spec.layers[0].attention.heads, 0);
  EXPECT_EQ(plan->spec.layers[0].attention.kv_heads, 0);
  EXPECT_EQ(plan->spec.cache_groups[0].kv_heads, 0);
  EXPECT_EQ(plan->spec.tensors[static_cast<size_t>(plan->spec.layers[0].query)].rows, 0);
  EXPECT_EQ(plan->spec.tensors[static_cast<size_t>(plan->spec.layers[0].output)].columns, 0);
}

TEST(Partition, ARequestThatCannotBeIsNamed) {
  const ModelSpec whole = SpecOf({});
  const auto refuses = [&](const ShardRequest& request, const std::string& place) {
    const absl::Status status = PlanShard(whole, request).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidArgument);
    EXPECT_EQ(PlaceOf(status), place) << status;
  };
  refuses({0, 9, {}, 0, -1}, "tensor ranks");
  refuses({0, 0, {}, 0, -1}, "tensor ranks");
  refuses({2, 2, {}, 0, -1}, "tensor rank");
  refuses({-1, 2, {}, 0, -1}, "tensor rank");
  refuses({0, 2, {1}, 0, -1}, "shares of the ranks");
  refuses({0, 2, {1, 0}, 0, -1}, "shares of the ranks");
  refuses({0, 1, {}, 0, 3}, "layers of the stage");
  refuses({0, 1, {}, 1, 1}, "layers of the stage");
  refuses({0, 1, {}, -1, 1}, "layers of the stage");
  const absl::StatusOr<ShardPlan> plan = PlanShard(whole, {0, 2, {}, 0, -1});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(PlaceOf(PlanShard(plan->spec, {}).status()), "model");
}

TEST(Partition, AMatrixIsNeverCutToASingleRow) {
  ModelSpec whole = SpecOf({});
  TensorSpec& key = whole.tensors[static_cast<size_t>(whole.layers[0].key)];
  for (LayerSpec& layer : whole.layers) {
    layer.attention = {2, 2, 1, 0, 1.0f};
    layer.output_fold = FoldOfGroups(2, 1, 1);
  }
  key.rows = 2;
  const absl::Status status = PlanShard(whole, {0, 2, {}, 0, -1}).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("blk.0.attn_"), std::string::npos) << status;
}

TEST(Partition, SharesCutInProportion) {
  EXPECT_EQ(CutByShares(8, 2, {}), (std::vector<int32_t>{0, 4, 8}));
  EXPECT_EQ(CutByShares(8, 3, {}), (std::vector<int32_t>{0, 2, 5, 8}));
  EXPECT_EQ(CutByShares(8, 2, {3, 1}), (std::vector<int32_t>{0, 6, 8}));
  EXPECT_EQ(CutByShares(1, 3, {}), (std::vector<int32_t>{0, 0, 0, 1}));
  EXPECT_EQ(CutByShares(1 << 24, 2, {1 << 20, 1 << 20}), (std::vector<int32_t>{0, 1 << 23, 1 << 24}));
}

}  // namespace
}  // namespace tessera

#include "core/engine/loaded_model.h"

#include <functional>
#include <utility>

#include "core/base/float_control.h"
#include "core/base/status.h"
#include "core/engine/model_hash.h"
#include "core/ranks/rank_shard.h"

namespace tessera {
namespace {

using Planner = std::function<absl::StatusOr<ShardPlan>(const ModelSpec& whole)>;

absl::StatusOr<std::shared_ptr<LoadedModel>> Load(std::shared_ptr<const RandomAccessFile> file,
                                                  const Backend& backend, MemorySource* memory,
                                                  LoadProgress* progress, int32_t threads,
                                                  const Planner& planner) {
  TSR_ASSIGN_OR_RETURN(ModelHeader header, ReadModelHeader(std::move(file)));
  TSR_ASSIGN_OR_RETURN(ShardPlan plan, planner(header.spec));
  auto model = std::make_shared<LoadedModel>();
  model->tokenizer_hash = HashTokenizer(*header.file);
  ContentHasher hasher;
  AddShape(*header.file, plan.spec, &hasher);
  model->memory = backend.memory();
  TSR_ASSIGN_OR_RETURN(model->weights, LoadWeights({header.file->file(), header.spec, plan}, backend, memory,
                                                   threads, progress, &hasher));
  model->hash = hasher.Finish();
  model->chat_templates = ChatTemplates::Read(*header.file, *header.tokenizer);
  header.file->CloseFile();
  model->file = std::move(header.file);
  model->spec = std::move(plan.spec);
  model->tokenizer = std::move(header.tokenizer);
  return model;
}

}  // namespace

absl::StatusOr<ModelHeader> ReadModelHeader(std::shared_ptr<const RandomAccessFile> file) {
  ModelHeader header;
  TSR_ASSIGN_OR_RETURN(header.file, GgufFile::Read(std::move(file)));
  {
    const ScopedFloatControl float_control;
    TSR_ASSIGN_OR_RETURN(header.spec, ReadModelSpec(*header.file));
  }
  TSR_ASSIGN_OR_RETURN(header.tokenizer, ReadTokenizer(*header.file, header.spec.vocabulary_size));
  return header;
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(std::shared_ptr<const RandomAccessFile> file,
                                                             const Backend& backend, MemorySource* memory,
                                                             LoadProgress* progress,
                                                             const ShardRequest* shard, int32_t threads) {
  return Load(std::move(file), backend, memory, progress, threads, [shard](const ModelSpec& whole) {
    return PlanShard(whole, shard != nullptr ? *shard : ShardRequest{});
  });
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModelForRank(
    std::shared_ptr<const RandomAccessFile> file, const Backend& backend, MemorySource* memory,
    LoadProgress* progress, const RankLayout& rank, int32_t threads) {
  TSR_ASSIGN_OR_RETURN(std::shared_ptr<LoadedModel> model,
                       Load(std::move(file), backend, memory, progress, threads,
                            [&rank](const ModelSpec& whole) { return PlanRank(whole, rank); }));
  model->part = rank;
  return std::shared_ptr<const LoadedModel>(std::move(model));
}

}  // namespace tessera

// A model that can run: its description, tokenizer and weights in a backend's layout. Immutable; shared by
// engines.
#ifndef TESSERA_CORE_ENGINE_LOADED_MODEL_H_
#define TESSERA_CORE_ENGINE_LOADED_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/content_hash.h"
#include "core/base/log.h"
#include "core/engine/weight_loader.h"
#include "core/env/file.h"
#include "core/env/memory.h"
#include "core/execute/backend.h"
#include "core/model/gguf.h"
#include "core/model/model_spec.h"
#include "core/offload/residency.h"
#include "core/parallel/partition.h"
#include "core/ranks/rank_layout.h"
#include "core/text/chat/chat_template.h"
#include "core/text/tokenizer.h"

namespace tessera {

struct LoadedModel {
  std::optional<RankLayout> part;        // the rank that it was loaded for; none: the whole model
  std::unique_ptr<const GgufFile> file;  // metadata; the source itself is let go of
  ModelSpec spec;                        // the rank's part where a shard was asked for
  std::unique_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const ChatTemplates> chat_templates;
  std::shared_ptr<MemorySource> memory;  // the backend's own, where the weights lie; null: the loader's
  std::unique_ptr<const ResidentWeights> weights;
  ContentHash hash;  // see model_hash.h
  ContentHash tokenizer_hash;
};

// A model without its weights: reads no tensor's data.
struct ModelHeader {
  std::unique_ptr<GgufFile> file;
  ModelSpec spec;
  std::unique_ptr<const Tokenizer> tokenizer;
};
absl::StatusOr<ModelHeader> ReadModelHeader(std::shared_ptr<const RandomAccessFile> file);

// Reads and re-lays all weights: see LoadWeights. With a request only that rank's slices of the weights are
// read and kept; null: all.
absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(std::shared_ptr<const RandomAccessFile> file,
                                                             const Backend& backend, MemorySource* memory,
                                                             LoadProgress* progress,
                                                             const ShardRequest* shard = nullptr,
                                                             int32_t threads = 0);
// The part of one rank of a layout.
absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModelForRank(
    std::shared_ptr<const RandomAccessFile> file, const Backend& backend, MemorySource* memory,
    LoadProgress* progress, const RankLayout& rank, int32_t threads = 0);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_LOADED_MODEL_H_

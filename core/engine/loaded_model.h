// A model that can run: its description, tokenizer and weights in a backend's layout. Immutable; shared by
// engines.
#ifndef TESSERA_CORE_ENGINE_LOADED_MODEL_H_
#define TESSERA_CORE_ENGINE_LOADED_MODEL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "core/env/file.h"
#include "core/env/memory.h"
#include "core/execute/backend.h"
#include "core/model/gguf.h"
#include "core/model/model_spec.h"
#include "core/offload/residency.h"
#include "core/text/tokenizer.h"

namespace tessera {

// Watches a load; no lock is held. False ends it with kCancelled.
class LoadProgress {
 public:
  virtual ~LoadProgress() = default;
  virtual bool OnProgress(uint64_t done_bytes, uint64_t total_bytes) noexcept = 0;
};

struct LoadedModel {
  std::unique_ptr<const GgufFile> file;  // metadata; the source itself is let go of
  ModelSpec spec;
  std::unique_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const ResidentWeights> weights;
};

// A model without its weights: reads no tensor's data.
struct ModelHeader {
  std::unique_ptr<GgufFile> file;
  ModelSpec spec;
  std::unique_ptr<const Tokenizer> tokenizer;
};
absl::StatusOr<ModelHeader> ReadModelHeader(std::shared_ptr<const RandomAccessFile> file);

// Where the tensors lie in the one region that a backend's layout of them takes.
struct WeightLayout {
  std::vector<uint64_t> offsets;  // [tensors]
  uint64_t packed_bytes = 0;      // of the region
  uint64_t file_bytes = 0;        // that are read
};
absl::StatusOr<WeightLayout> LayWeights(const ModelSpec& spec, const Backend& backend);

// Reads and re-lays all weights through one staging buffer. `progress` may be null.
absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(std::shared_ptr<const RandomAccessFile> file,
                                                             const Backend& backend, MemorySource* memory,
                                                             LoadProgress* progress);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_LOADED_MODEL_H_

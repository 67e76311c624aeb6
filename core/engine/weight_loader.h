// Weights from a file into a backend's layout: where each tensor lies, and the reading, hashing and packing
// of all of them, on one thread or several. Knows no engine and no metadata.
#ifndef TESSERA_CORE_ENGINE_WEIGHT_LOADER_H_
#define TESSERA_CORE_ENGINE_WEIGHT_LOADER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/content_hash.h"
#include "core/env/file.h"
#include "core/env/memory.h"
#include "core/execute/backend.h"
#include "core/model/model_spec.h"
#include "core/offload/residency.h"
#include "core/parallel/partition.h"

namespace tessera {

// Watches a load; no lock is held. One call at a time, on any thread of the load. False ends it with
// kCancelled.
class LoadProgress {
 public:
  virtual ~LoadProgress() = default;
  virtual bool OnProgress(uint64_t done_bytes, uint64_t total_bytes) noexcept = 0;
};

// Where the tensors lie in the one region that a backend's layout of them takes: in the order in which a step
// reads them, so that query, key and value of a layer, and gate and up, are neighbours. There is no gap
// between two whose sizes are multiples of the backend's alignment.
struct WeightLayout {
  std::vector<uint64_t> offsets;  // [tensors]
  uint64_t packed_bytes = 0;      // of the region
  uint64_t file_bytes = 0;        // that are read
};
absl::StatusOr<WeightLayout> LayWeights(const ModelSpec& spec, const Backend& backend);

struct WeightSource {
  const RandomAccessFile& file;
  const ModelSpec& whole;  // what the file holds
  const ShardPlan& plan;   // what of it is wanted
};

// Reads, hashes and packs the weights; `hasher` gets what model_hash.h says of them, which does not depend on
// backend and threads. memory: for backends that have none of their own. threads 0: as many as the backend
// wants. `progress` may be null; told of every 64 MiB, and of the end. After an error nothing is left.
absl::StatusOr<std::unique_ptr<const ResidentWeights>> LoadWeights(const WeightSource& source,
                                                                   const Backend& backend,
                                                                   MemorySource* memory, int32_t threads,
                                                                   LoadProgress* progress,
                                                                   ContentHasher* hasher);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_WEIGHT_LOADER_H_

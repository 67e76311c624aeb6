// A model that can run: its description, tokenizer and weights in a backend's layout. Immutable; shared by
// engines.
#ifndef TESSERA_CORE_ENGINE_LOADED_MODEL_H_
#define TESSERA_CORE_ENGINE_LOADED_MODEL_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/base/log.h"
#include "core/env/file.h"
#include "core/env/memory.h"
#include "core/execute/backend.h"
#include "core/model/gguf.h"
#include "core/model/model_spec.h"
#include "core/offload/residency.h"
#include "core/text/chat/chat_template.h"
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
  std::unique_ptr<const ChatTemplates> chat_templates;
  std::unique_ptr<const ResidentWeights> weights;
};

// Reads and re-lays all weights through one staging buffer. `progress` may be null.
absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(std::shared_ptr<const RandomAccessFile> file,
                                                             const Backend& backend, MemorySource* memory,
                                                             LoadProgress* progress);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_LOADED_MODEL_H_

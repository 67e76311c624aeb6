// What an engine would take and how fast it should run, said from a model's header: nothing is read but that,
// and nothing allocated. The sizes come from the functions that those who allocate use.
#ifndef TESSERA_CORE_ENGINE_ENGINE_PLAN_H_
#define TESSERA_CORE_ENGINE_ENGINE_PLAN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/engine/engine_shape.h"
#include "core/engine/loaded_model.h"
#include "core/execute/speed_model.h"

namespace tessera {

struct EnginePlan {
  uint64_t weight_bytes = 0;
  uint64_t cache_bytes = 0;
  uint64_t scratch_bytes = 0;
  uint64_t object_bytes = 0;  // tokenizer, metadata, lists of blocks, samplers; without sessions and requests
  uint64_t total_bytes() const { return weight_bytes + cache_bytes + scratch_bytes + object_bytes; }

  int64_t cache_tokens = 0;    // in whole blocks
  int32_t context_tokens = 0;  // the longest session
  // The largest engine.cache_tokens, in whole blocks, with which the total stays within a budget. 0: not even
  // one block does.
  int64_t fitting_cache_tokens = 0;

  uint64_t weight_bytes_per_token = 0;  // stored, that decoding a token reads
  uint64_t cache_bytes_per_token = 0;   // that each token of the context takes

  // One sequence's; 0: the speed model does not know.
  double decode_tokens_per_second = 0;       // at the context's beginning ...
  double decode_tokens_per_second_full = 0;  // ... and at its end
  double prompt_tokens_per_second = 0;       // of a prompt as long as a batch
};

// budget_bytes 0: none, and all that the settings allow fits. The errors are those of Engine::Create.
absl::StatusOr<EnginePlan> PlanEngine(const ModelHeader& model, const Backend& backend,
                                      const EngineOptions& options, uint64_t budget_bytes,
                                      const SpeedModel& speed);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_ENGINE_PLAN_H_

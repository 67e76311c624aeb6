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
  bool on_device = false;  // weights, cache and scratch are the device's memory, the rest is the host's
  uint64_t weight_bytes = 0;
  uint64_t cache_bytes = 0;
  uint64_t scratch_bytes = 0;
  uint64_t pinned_bytes = 0;  // working memory on the host that a device reads
  uint64_t object_bytes = 0;  // tokenizer, metadata, lists of blocks, samplers; without sessions and requests
  uint64_t computing_bytes() const { return weight_bytes + cache_bytes + scratch_bytes; }
  uint64_t host_bytes() const { return (on_device ? 0 : computing_bytes()) + pinned_bytes + object_bytes; }
  uint64_t device_bytes() const { return on_device ? computing_bytes() : 0; }

  int64_t cache_tokens = 0;    // in whole blocks
  int32_t context_tokens = 0;  // the longest session
  // The largest engine.cache_tokens, in whole blocks, with which the budgets are kept. 0: not even one block
  // does.
  int64_t fitting_cache_tokens = 0;

  uint64_t weight_bytes_per_token = 0;  // stored, that decoding a token reads
  uint64_t cache_bytes_per_token = 0;   // that each token of the context takes

  // One sequence's; 0: the speed model does not know.
  double decode_tokens_per_second = 0;       // at the context's beginning ...
  double decode_tokens_per_second_full = 0;  // ... and at its end
  double prompt_tokens_per_second = 0;       // of a prompt as long as a batch
};

// 0: none. Without any all that the settings allow fits.
struct PlanBudgets {
  uint64_t host_bytes = 0;
  uint64_t device_bytes = 0;
  bool none() const { return host_bytes == 0 && device_bytes == 0; }
  bool Hold(const EnginePlan& plan) const {
    return (host_bytes == 0 || plan.host_bytes() <= host_bytes) &&
           (device_bytes == 0 || plan.device_bytes() <= device_bytes);
  }
};

// The errors are those of Engine::Create.
absl::StatusOr<EnginePlan> PlanEngine(const ModelHeader& model, const Backend& backend,
                                      const EngineOptions& options, const PlanBudgets& budgets,
                                      const SpeedModel& speed);

}  // namespace tessera

#endif  // TESSERA_CORE_ENGINE_ENGINE_PLAN_H_

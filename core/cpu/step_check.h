// What a step and its weights must fulfil before a region touches memory by them: limits, positions and
// shapes. The engine keeps to all of it; a breach is a defect of ours and becomes kInternal instead of a wild
// read.
#ifndef TESSERA_CORE_CPU_STEP_CHECK_H_
#define TESSERA_CORE_CPU_STEP_CHECK_H_

#include "absl/status/status.h"
#include "core/execute/backend.h"

namespace tessera {

absl::Status CheckLimits(const ModelSpec& spec, const BackendLimits& limits);
absl::Status CheckStep(const ModelSpec& spec, const BackendLimits& limits, const StepView& step);
absl::Status CheckWeights(const ModelSpec& spec, const Region& region, const RegionWeights& weights);

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_STEP_CHECK_H_

// What limits and steps must fulfil before a backend touches memory by them: sizes, positions and shapes. The
// engine keeps to all of it; a breach is a defect of ours and becomes kInternal instead of a wild read.
#ifndef TESSERA_CORE_EXECUTE_STEP_CHECK_H_
#define TESSERA_CORE_EXECUTE_STEP_CHECK_H_

#include "absl/status/status.h"
#include "core/execute/backend.h"

namespace tessera {

absl::Status CheckLimits(const ModelSpec& spec, const BackendLimits& limits);
// samples_before: how many tokens the step before samples that this one may take from it; 0: none.
absl::Status CheckStep(const ModelSpec& spec, const BackendLimits& limits, const StepView& step,
                       int32_t samples_before = 0);

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_STEP_CHECK_H_

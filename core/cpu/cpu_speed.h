// How fast this processor is, for plans: a short probe of its memory and its arithmetic, and the shares of
// them that the kernels reach. The shares were measured once (bench/README.md says how); a processor with
// more or less arithmetic for its memory will differ somewhat.
#ifndef TESSERA_CORE_CPU_CPU_SPEED_H_
#define TESSERA_CORE_CPU_CPU_SPEED_H_

#include "absl/status/statusor.h"
#include "core/cpu/kernels/linear/linear.h"
#include "core/env/clock.h"
#include "core/env/memory.h"
#include "core/execute/speed_model.h"

namespace tessera {

// Takes about a tenth of a second, `threads` threads, and for that long memory of twice the last cache's
// size. kOutOfMemory; kLimitExceeded where threads are refused.
absl::StatusOr<MachineSpeed> ProbeCpu(int32_t threads, Clock* clock, MemorySource* memory);

SpeedModel CpuSpeedModel(const MachineSpeed& machine, int32_t threads, cpu::ActivationMode activations);

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_CPU_SPEED_H_

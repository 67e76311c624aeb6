// A CPU context: the regions of a step, each a few fork-joins over the pool. Made by the CPU backend.
#ifndef TESSERA_CORE_CPU_CPU_CONTEXT_H_
#define TESSERA_CORE_CPU_CPU_CONTEXT_H_

#include <memory>

#include "core/cpu/cpu_backend.h"
#include "core/env/memory.h"

namespace tessera {

absl::StatusOr<ContextMemory> PlanCpuContext(const CpuBackendOptions& options, const ModelSpec& spec,
                                             const BackendLimits& limits);
absl::StatusOr<std::unique_ptr<BackendContext>> CreateCpuContext(const CpuBackendOptions& options,
                                                                 const ModelSpec& spec,
                                                                 const BackendLimits& limits,
                                                                 MemorySource* memory);

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_CPU_CONTEXT_H_

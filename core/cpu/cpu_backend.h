// The CPU backend: packed weights, one fork-join pool a context, Highway kernels chosen at run time.
#ifndef TESSERA_CORE_CPU_CPU_BACKEND_H_
#define TESSERA_CORE_CPU_CPU_BACKEND_H_

#include <memory>

#include "core/cpu/kernels/linear/linear.h"
#include "core/execute/backend.h"

namespace tessera {

struct CpuBackendOptions {
  // How quantised weights are multiplied: with activations rounded to 8 bits in groups of 32, or in F32.
  // Weights of F32, F16 and BF16 always meet F32 activations.
  cpu::ActivationMode activations = cpu::ActivationMode::kInt8;
};

// Tensors of one row are vectors (norm weights, biases): their packed form is plain F32. All others are
// matrices and packed in tiles of cpu::kPackRows outputs. A matrix of one output is not supported.
std::unique_ptr<Backend> MakeCpuBackend(const CpuBackendOptions& options);

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_CPU_BACKEND_H_

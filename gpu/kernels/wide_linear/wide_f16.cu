#include "gpu/kernels/wide_linear/wide_kernel.cuh"

namespace tessera::gpu {

WideKernel WideKernelOfF16(int instance) { return WideKernelOf<__half>(instance); }

}  // namespace tessera::gpu

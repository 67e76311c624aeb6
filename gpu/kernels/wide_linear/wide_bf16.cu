#include "gpu/kernels/wide_linear/wide_kernel.cuh"

namespace tessera::gpu {

WideKernel WideKernelOfBf16(int instance) { return WideKernelOf<__nv_bfloat16>(instance); }

}  // namespace tessera::gpu

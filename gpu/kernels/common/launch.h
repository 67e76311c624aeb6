// How every kernel of the module is launched: into a stream, as a node that may start before its predecessor
// has ended (programmatic dependent launch) where the caller says so. Knows no step and no model.
#ifndef TESSERA_GPU_KERNELS_COMMON_LAUNCH_H_
#define TESSERA_GPU_KERNELS_COMMON_LAUNCH_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

namespace tessera::gpu {

struct LaunchContext {
  cudaStream_t stream = nullptr;
  int sm_count = 0;  // of the device
  bool overlap =
      false;  // the node may begin while its predecessor in the stream still runs; see dependency.cuh
};

// Thread blocks in clusters of `cluster`, neighbours along x; 1: none. `kernel`'s dynamic shared memory above
// 48 KB must have been allowed before (AllowSharedMemory), outside of any capture, and clusters above 8 too.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchClusters(const LaunchContext& context, int cluster, void (*kernel)(Parameters...),
                           dim3 grid, dim3 block, size_t shared_bytes, Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = context.stream;
  config.attrs = attributes;
  if (context.overlap) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(cluster);
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
  }
  // Copies of exactly the parameters' types: cudaLaunchKernelExC takes their addresses.
  return [&](Parameters... exact) {
    void* addresses[] = {static_cast<void*>(&exact)...};
    return cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), addresses);
  }(static_cast<Parameters>(arguments)...);
}

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(const LaunchContext& context, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, Arguments&&... arguments) {
  return LaunchClusters(context, 1, kernel, grid, block, shared_bytes, std::forward<Arguments>(arguments)...);
}

template <typename... Parameters>
cudaError_t AllowSharedMemory(void (*kernel)(Parameters...), size_t bytes) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_COMMON_LAUNCH_H_

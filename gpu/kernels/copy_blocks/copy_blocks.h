// Blocks of the cache that are copied before a step writes to them.
#ifndef TESSERA_GPU_KERNELS_COPY_BLOCKS_COPY_BLOCKS_H_
#define TESSERA_GPU_KERNELS_COPY_BLOCKS_COPY_BLOCKS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/device/device_module.h"
#include "gpu/kernels/common/launch.h"

namespace tessera::gpu {

struct CopyBlocksArgs {
  const tsr_device_copy* copies = nullptr;  // [count], the device's or mapped memory; those of other groups
  int32_t count = 0;                        // are passed over
  int32_t group = 0;
  uint8_t* cache = nullptr;  // the group's
  int64_t block_bytes = 0;   // a multiple of 4
};

// In the list's order: a block may be copied to and then from.
cudaError_t LaunchCopyBlocks(const LaunchContext& context, const CopyBlocksArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_COPY_BLOCKS_COPY_BLOCKS_H_

#include "tests/gpu/cache_append_reference.h"

#include "core/cpu/kernels/cache_rows/cache_rows_reference.h"

namespace tessera::gpu {

void StoreRowOnCpu(int32_t type, const float* x, int32_t size, uint8_t* row) {
  cpu::StoreCacheRowReference(static_cast<CacheType>(type), x, size, row);
}

}  // namespace tessera::gpu

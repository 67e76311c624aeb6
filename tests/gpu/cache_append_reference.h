// The CPU's rule for rows of the cache, behind a declaration that C++17 can read.
#ifndef TESSERA_TESTS_GPU_CACHE_APPEND_REFERENCE_H_
#define TESSERA_TESTS_GPU_CACHE_APPEND_REFERENCE_H_

#include <cstdint>

namespace tessera::gpu {

// core/cpu/kernels/cache_rows's StoreCacheRowReference; type: an ElementType's number.
void StoreRowOnCpu(int32_t type, const float* x, int32_t size, uint8_t* row);

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_CACHE_APPEND_REFERENCE_H_

// Keys and values on their way into the cache: one position of one head, rounded to the cache's type.
#ifndef TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_H_
#define TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_H_

#include <cstdint>

#include "core/cache/cache_view.h"

namespace tessera::cpu {

// Round to nearest, ties to even; what is too large for F16 becomes infinity. kInt8: groups of kCacheGroup
// elements become whole multiples, -127 to 127, of the group's largest / 127; a group with NaN, infinity or
// what is too large for that becomes NaN. The same bits on every processor.
void StoreCacheRow(CacheType type, const float* x, int32_t count, void* row);

// Exact. Attention uses the inline form (cache_rows-inl.h).
void LoadCacheRow(CacheType type, const void* row, int32_t count, float* x);

}  // namespace tessera::cpu

#endif  // TESSERA_CORE_CPU_KERNELS_CACHE_ROWS_CACHE_ROWS_H_

#include "core/cpu/kernels/cache_rows/cache_rows.h"

#include "core/cpu/kernels/linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/cache_rows/cache_rows.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/cpu/kernels/cache_rows/cache_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

void StoreRowImpl(CacheType type, const float* x, int32_t count, void* row) { StoreRow(type, x, count, row); }
void LoadRowImpl(CacheType type, const void* row, int32_t count, float* x) { LoadRow(type, row, count, x); }

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(StoreRowImpl);
HWY_EXPORT(LoadRowImpl);

void StoreCacheRow(CacheType type, const float* x, int32_t count, void* row) {
  HWY_DYNAMIC_DISPATCH(StoreRowImpl)(type, x, count, row);
}

void LoadCacheRow(CacheType type, const void* row, int32_t count, float* x) {
  HWY_DYNAMIC_DISPATCH(LoadRowImpl)(type, row, count, x);
}

}  // namespace tessera::cpu
#endif  // HWY_ONCE

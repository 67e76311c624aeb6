// F32, F16 and BF16 weights with F32 activations.
#include "core/cpu/kernels/linear/linear_call.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/kernels/linear/linear_float.cc"
#include "core/cpu/kernels/linear/targets.h"
#include "hwy/foreach_target.h"
//
#include "core/cpu/kernels/linear/plain.h"
#include "core/cpu/kernels/linear/walk-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

#if TESSERA_LINEAR_PLAIN
void LinearFloatTarget(const LinearCall& call) { LinearPlain(call); }
#else

struct F32Weights {
  static constexpr int kBytes = 4;
  static HWY_INLINE VF Load(const uint8_t* at) { return hn::LoadU(DF(), reinterpret_cast<const float*>(at)); }
};
struct F16Weights {
  static constexpr int kBytes = 2;
  static HWY_INLINE VF Load(const uint8_t* at) { return LoadHalves(at); }
};
struct BF16Weights {
  static constexpr int kBytes = 2;
  static HWY_INLINE VF Load(const uint8_t* at) { return LoadBFloats(at); }
};

template <class Weights>
struct FloatKernel {
  static constexpr int kMaxRows = kParts == 1 ? 8 : kParts == 2 ? 6 : 2;
  static constexpr int kColumnBytes = static_cast<int>(kPackRows) * Weights::kBytes;
  static constexpr int kPrefetch = 2048;

  template <int R>
  static HWY_INLINE void Run(const TileRows<R>& at, int64_t columns, VF (&sums)[R][kParts]) {
    int64_t k = 0;
    const uint8_t* HWY_RESTRICT w = at.tile;
    for (; k + 4 <= columns; k += 4) {
      if constexpr (Weights::kBytes == 2) {  // F32 is read so fast that asking ahead only costs
        TESSERA_UNROLL
        for (int i = 0; i < 4 * kColumnBytes; i += 64) hwy::Prefetch(w + kPrefetch + i);
      }
      TESSERA_UNROLL
      for (int i = 0; i < 4; ++i, w += kColumnBytes) Column<R>(at, k + i, w, sums);
    }
    for (; k < columns; ++k, w += kColumnBytes) Column<R>(at, k, w, sums);
  }

 private:
  template <int R>
  static HWY_INLINE void Column(const TileRows<R>& at, int64_t k, const uint8_t* HWY_RESTRICT w,
                                VF (&sums)[R][kParts]) {
    VF weights[kParts];
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) weights[p] = Weights::Load(w + p * kLanes * Weights::kBytes);
    TESSERA_UNROLL
    for (int r = 0; r < R; ++r) {
      const VF x = hn::Set(DF(), LoadAs<float>(at.rows[r] + 4 * k));
      TESSERA_UNROLL
      for (int p = 0; p < kParts; ++p) Accumulate(sums[r][p], weights[p], x);
    }
  }
};

void LinearFloatTarget(const LinearCall& call) {
  if (call.type == TensorType::kF32) {
    Walk<FloatKernel<F32Weights> >(call);
  } else if (call.type == TensorType::kF16) {
    Walk<FloatKernel<F16Weights> >(call);
  } else {
    Walk<FloatKernel<BF16Weights> >(call);
  }
}

#endif  // TESSERA_LINEAR_PLAIN

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {
HWY_EXPORT(LinearFloatTarget);
void LinearFloat(const LinearCall& call) { HWY_DYNAMIC_DISPATCH(LinearFloatTarget)(call); }
}  // namespace tessera::cpu
#endif

// What the quantised types share: a kernel for Int8 activations and one for F32 activations, both over a
// `Type` that says how one group of its format is multiplied or read.
//
// A Type has:
//   kLayout, a QuantLayout; kSignedValues: its stored values are signed.
//   Header, read once a block: explicit Header(const uint8_t* block).
//   Int8<Dots, R>(header, group, x, sums): adds one group's products. x [R]: the rows' ActivationGroups.
//   Values(group, quad, p): the quad's stored values q, one in a byte, of part p of the outputs.
//   Affine(header, group, half, p, scale, offset, shift): w = scale * (q - offset) + shift for part p of the
//   outputs and columns [16 half, 16 half + 16) of the group.
#if defined(TESSERA_CPU_LINEAR_QUANT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CPU_LINEAR_QUANT_INL_H_
#undef TESSERA_CPU_LINEAR_QUANT_INL_H_
#else
#define TESSERA_CPU_LINEAR_QUANT_INL_H_
#endif

#include "core/cpu/kernels/linear/walk-inl.h"

#if !TESSERA_LINEAR_PLAIN
HWY_BEFORE_NAMESPACE();
namespace tessera::cpu {
namespace HWY_NAMESPACE {

constexpr int kPrefetchBytes = 2048;  // ahead of the reader, through the end of a tile into the next

template <int R>
using Groups = const ActivationGroup* [R];

// The same rows under pointers that the compiler takes for others: it would keep each broadcast of one part
// of the outputs for the next, on the stack, where a second broadcast from the cache costs nothing.
template <int R>
HWY_INLINE void Reread(Groups<R>& x) {
#if defined(__GNUC__)
  TESSERA_UNROLL
  for (int r = 0; r < R; ++r) __asm__ volatile("" : "+r"(x[r]));
#endif
}

HWY_INLINE void PrefetchBytes(const uint8_t* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) hwy::Prefetch(from + kPrefetchBytes + i);
}

template <class Type, class Dots>
struct Int8Kernel {
  static constexpr int kMaxRows = kParts == 1 ? 8 : kParts == 2 ? 4 : 2;
  template <int R>
  static HWY_INLINE void Run(const TileRows<R>& at, int64_t columns, VF (&sums)[R][kParts]) {
    Groups<R> x;
    TESSERA_UNROLL
    for (int r = 0; r < R; ++r) x[r] = reinterpret_cast<const ActivationGroup*>(at.rows[r]);
    const uint8_t* HWY_RESTRICT block = at.tile;
    for (int64_t k = 0; k < columns; k += Type::kLayout.block_columns, block += Type::kLayout.block_bytes()) {
      const typename Type::Header header(block);
      const uint8_t* HWY_RESTRICT group = block + Type::kLayout.header_bytes;
      for (int64_t g = 0; g < Type::kLayout.block_columns; g += kGroup, group += Type::kLayout.group_bytes) {
        PrefetchBytes(group, Type::kLayout.group_bytes);
        Type::template Int8<Dots, R>(header, group, x, sums);
        TESSERA_UNROLL
        for (int r = 0; r < R; ++r) ++x[r];
      }
    }
  }
};

template <class Type>
struct F32Kernel {
  static constexpr int kMaxRows = kParts == 1 ? 8 : kParts == 2 ? 4 : 2;
  template <int R>
  static HWY_INLINE void Run(const TileRows<R>& at, int64_t columns, VF (&sums)[R][kParts]) {
    const uint8_t* HWY_RESTRICT block = at.tile;
    int64_t k = 0;
    for (; k < columns; block += Type::kLayout.block_bytes()) {
      const typename Type::Header header(block);
      const uint8_t* HWY_RESTRICT group = block + Type::kLayout.header_bytes;
      for (int64_t g = 0; g < Type::kLayout.block_columns; g += kGroup, group += Type::kLayout.group_bytes) {
        for (int half = 0; half < 2; ++half) {
          VF scale[kParts], offset[kParts], shift[kParts];
          TESSERA_UNROLL
          for (int p = 0; p < kParts; ++p)
            Type::Affine(header, group, half, p, scale[p], offset[p], shift[p]);
          for (int q = 4 * half; q < 4 * half + 4; ++q, k += 4) {
            Quad<R>(at, k, group, q, scale, offset, shift, sums);
          }
        }
      }
    }
  }

 private:
  template <int R>
  static HWY_INLINE void Quad(const TileRows<R>& at, int64_t k, const uint8_t* group, int q,
                              const VF (&scale)[kParts], const VF (&offset)[kParts],
                              const VF (&shift)[kParts], VF (&sums)[R][kParts]) {
    VU32 bytes[kParts];  // byte b of each lane: the quad's column b of that output
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) bytes[p] = hn::BitCast(DU32(), Type::Values(group, q, p));
    TESSERA_UNROLL
    for (int b = 0; b < 4; ++b) {
      VF w[kParts];
      TESSERA_UNROLL
      for (int p = 0; p < kParts; ++p) {
        const VI32 value = Type::kSignedValues
                               ? hn::ShiftRight<24>(hn::BitCast(DI32(), hn::ShiftLeft<24>(bytes[p])))
                               : hn::BitCast(DI32(), hn::And(bytes[p], hn::Set(DU32(), 255)));
        bytes[p] = hn::ShiftRight<8>(bytes[p]);
        // Rounded step by step, as the formats define their values.
        w[p] = hn::Add(hn::Mul(scale[p], hn::Sub(hn::ConvertTo(DF(), value), offset[p])), shift[p]);
      }
      TESSERA_UNROLL
      for (int r = 0; r < R; ++r) {
        const VF x = hn::Set(DF(), LoadAs<float>(at.rows[r] + (k + b) * 4));
        TESSERA_UNROLL
        for (int p = 0; p < kParts; ++p) Accumulate(sums[r][p], w[p], x);
      }
    }
  }
};

// sums += the products of 4-bit weights (0 to 15) in `nibbles` and the rows' values.
template <class Dots, int R>
HWY_INLINE void NibbleDots(const uint8_t* HWY_RESTRICT nibbles, Groups<R>& x,
                           typename Dots::Sum (&sums)[R][kParts]) {
  TESSERA_UNROLL
  for (int j = 0; j < 4; ++j) {
    VU8 low[kParts], high[kParts];
    TESSERA_UNROLL
    for (int p = 0; p < kParts; ++p) {
      const VU8 both = LoadBytes(nibbles + 64 * j + p * kPartBytes);
      low[p] = LowNibbles(both);
      high[p] = HighNibbles(both);
    }
    TESSERA_UNROLL
    for (int r = 0; r < R; ++r) {
      const VI8 x_low = BroadcastQuad(x[r]->values + 4 * j);
      const VI8 x_high = BroadcastQuad(x[r]->values + 4 * j + 16);
      TESSERA_UNROLL
      for (int p = 0; p < kParts; ++p) {
        sums[r][p] = j == 0 ? Dots::First(low[p], x_low) : Dots::Add(sums[r][p], low[p], x_low);
        sums[r][p] = Dots::Add(sums[r][p], high[p], x_high);
      }
    }
  }
}

HWY_INLINE VU8 NibbleValues(const uint8_t* nibbles, int quad, int p) {
  const VU8 both = LoadBytes(nibbles + 64 * (quad % 4) + p * kPartBytes);
  return quad < 4 ? LowNibbles(both) : HighNibbles(both);
}

template <class Type>
HWY_INLINE void RunType(const LinearCall& call) {
  if (call.mode == ActivationMode::kF32) return Walk<F32Kernel<Type>>(call);
#if HWY_TARGET == HWY_AVX3
  if (call.vnni) return Walk<Int8Kernel<Type, WideDots>>(call);
#endif
  Walk<Int8Kernel<Type, PairDots>>(call);
}

}  // namespace HWY_NAMESPACE
}  // namespace tessera::cpu
HWY_AFTER_NAMESPACE();
#endif  // !TESSERA_LINEAR_PLAIN

#endif  // TESSERA_CPU_LINEAR_QUANT_INL_H_

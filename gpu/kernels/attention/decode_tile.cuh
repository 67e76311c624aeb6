// What a decoding warp computes: scores of 16 keys for the item's query heads, online softmax, weighted sums
// of 16 values. See decode.cuh for the order of things; each form of the cache has its tile. Sums that a
// compiler might round once or twice say which, since two kernels must have the same bits.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_DECODE_TILE_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_DECODE_TILE_CUH_

#include <cmath>
#include <cstdint>

#include "gpu/kernels/attention/decode_walk.cuh"
#include "gpu/kernels/attention/mma.cuh"

namespace tessera::gpu {

// What does not depend on the cache's form. C: the type in which products are made. kHeadTiles: of 8 heads.
template <typename C, int kSize, int kHeadTiles>
class DecodeTile {
 public:
  static constexpr int kHeadSize = kSize;
  static constexpr int kMostHeads = 8 * kHeadTiles;
  static constexpr int kWholeSteps = kSize / 32;       // of 32 elements: two products
  static constexpr bool kHalfStep = kSize % 32 == 16;  // and one product more
  static constexpr int kValueTiles = kSize / 16;       // of 16 elements of O^T
  static_assert(kSize % 16 == 0, "products take 16 elements");

  // query: [heads, kSize]; heads from there up to kMostHeads count as 0. Loads, which nothing waits for until
  // UseQuery; what UseQuery made before stays.
  __device__ void LoadQuery(const uint16_t* query, int32_t heads) {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      const int32_t head = n * 8 + G();
      const uint16_t* const row = query + head * kSize;
#pragma unroll
      for (int j = 0; j < kWholeSteps; ++j) {
        uint4 part = make_uint4(0, 0, 0, 0);
        if (head < heads) part = *reinterpret_cast<const uint4*>(row + 32 * j + 8 * T());
        loaded_[n][4 * j] = part.x;
        loaded_[n][4 * j + 1] = part.y;
        loaded_[n][4 * j + 2] = part.z;
        loaded_[n][4 * j + 3] = part.w;
      }
      if constexpr (kHalfStep) {
        uint2 part = make_uint2(0, 0);
        if (head < heads) part = *reinterpret_cast<const uint2*>(row + 32 * kWholeSteps + 4 * T());
        loaded_[n][4 * kWholeSteps] = part.x;
        loaded_[n][4 * kWholeSteps + 1] = part.y;
      }
    }
  }

  // type: of what was loaded.
  __device__ void UseQuery(ElementType type) {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
#pragma unroll
      for (int i = 0; i < kQueryWords; ++i) query_[n][i] = Convert<C>(type, loaded_[n][i]);
    }
  }

  // Before a split's first tile.
  __device__ void Reset() {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
#pragma unroll
      for (int i = 0; i < kValueTiles; ++i) {
        for (float& sum : sums[n][i]) sum = 0;
      }
      for (int i = 0; i < 2; ++i) {
        largest[n][i] = -INFINITY;
        weight[n][i] = 0;
      }
    }
  }

  // After the last tile: each lane's part of the sum of weights becomes the whole.
  __device__ void End() {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      for (int i = 0; i < 2; ++i) {
        for (int lanes = 4; lanes < 32; lanes *= 2) {
          weight[n][i] += __shfl_xor_sync(kAllLanes, weight[n][i], lanes);
        }
      }
    }
  }

  // Of heads 8n + 2t + i.
  float largest[kHeadTiles][2];  // score so far, in units of log2
  float weight[kHeadTiles][2];   // sum of 2^(score - largest)
  // [.][tile][2 e + i]: element ElementOf(tile) + e of head 8n + 2t + i.
  float sums[kHeadTiles][kValueTiles][4];

 protected:
  static __device__ int G() { return static_cast<int>(threadIdx.x & 31) / 4; }
  static __device__ int T() { return static_cast<int>(threadIdx.x & 3); }

  // Scores [.][2 r + i] of keys g + 8 r become weights; sums are rescaled. kMasked: only keys [low, high]
  // count.
  template <bool kMasked>
  __device__ void Softmax(float (&scores)[kHeadTiles][4], float scale_log2, int32_t low, int32_t high) {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = __fmul_rn(scores[n][i], scale_log2);
        if (kMasked) {
          const int32_t key = G() + i / 2 * 8;
          if (key < low || key > high) scores[n][i] = -INFINITY;
        }
      }
      float rescale[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float most = fmaxf(scores[n][i], scores[n][2 + i]);
        for (int lanes = 4; lanes < 32; lanes *= 2) {
          most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, lanes));
        }
        most = fmaxf(most, largest[n][i]);
        rescale[i] = Exp2(largest[n][i] - most);
        largest[n][i] = most;
        scores[n][i] = Exp2(scores[n][i] - most);
        scores[n][2 + i] = Exp2(scores[n][2 + i] - most);
        weight[n][i] = __fadd_rn(fmaf(weight[n][i], rescale[i], scores[n][i]), scores[n][2 + i]);
      }
      // NaN differs from 1 as well.
      if (__any_sync(kAllLanes, rescale[0] != 1.0f || rescale[1] != 1.0f)) {
#pragma unroll
        for (int i = 0; i < kValueTiles; ++i) {
          sums[n][i][0] *= rescale[0];
          sums[n][i][1] *= rescale[1];
          sums[n][i][2] *= rescale[0];
          sums[n][i][3] *= rescale[1];
        }
      }
    }
  }

  // Weights [2 r + i] of keys g + 8 r, each times its key's factor, as P^T's fragment.
  static __device__ void Fragment(const float (&weights)[4], const float (&factor)[2],
                                  uint32_t (&fragment)[2]) {
    fragment[0] = Transpose(Pack<C>(weights[0] * factor[0], weights[1] * factor[0]));
    fragment[1] = Transpose(Pack<C>(weights[2] * factor[1], weights[3] * factor[1]));
  }

  static constexpr int kQueryWords = 4 * kWholeSteps + (kHalfStep ? 2 : 0);
  // [.][4 j ...]: elements 32 j + 8 t on; the half step: 4 t on.
  uint32_t query_[kHeadTiles][kQueryWords];
  uint32_t loaded_[kHeadTiles][kQueryWords];  // of the next item, of the query's type
};

// A cache of 16-bit elements.
template <typename C, int kSize, int kHeadTiles>
class HalfTile : public DecodeTile<C, kSize, kHeadTiles> {
  using Base = DecodeTile<C, kSize, kHeadTiles>;
  using Base::G;
  using Base::query_;
  using Base::T;
  // A lane's elements of a value row, g * kSize / 8 on, in vectors as long as their alignment allows.
  static constexpr int kVector = kSize % 64 == 0 ? 8 : kSize % 32 == 0 ? 4 : 2;
  static constexpr int kVectors = kSize / 8 / kVector;

 public:
  static constexpr int kRowBytes = 2 * kSize;  // of the cache
  using Base::sums;

  // The first of the two elements that a lane holds of a tile of sums; the other is the next.
  static __device__ int ElementOf(int tile) { return G() * (kSize / 8) + 2 * tile; }

  // keys, values: [16, kSize].
  template <bool kMasked>
  __device__ void Compute(const uint8_t* keys, const uint8_t* values, float scale_log2, int32_t low,
                          int32_t high) {
    float scores[kHeadTiles][4] = {};
    Scores(keys, scores);
    Base::template Softmax<kMasked>(scores, scale_log2, low, high);
    uint32_t weights[kHeadTiles][2];
    const float factor[2] = {1, 1};
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) Base::Fragment(scores[n], factor, weights[n]);
    AddValues<kMasked>(values, weights, low, high);
  }

 private:
  __device__ void Scores(const uint8_t* keys, float (&scores)[kHeadTiles][4]) {
    const uint8_t* const row = keys + G() * kRowBytes;
    float odd[kHeadTiles][4] = {};  // two chains of products wait half as long
#pragma unroll
    for (int j = 0; j < Base::kWholeSteps; ++j) {
      const uint4 a = *reinterpret_cast<const uint4*>(row + 64 * j + 16 * T());
      const uint4 b = *reinterpret_cast<const uint4*>(row + 8 * kRowBytes + 64 * j + 16 * T());
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) {
        Multiply<C>(scores[n], a.x, b.x, a.y, b.y, query_[n][4 * j], query_[n][4 * j + 1]);
        Multiply<C>(odd[n], a.z, b.z, a.w, b.w, query_[n][4 * j + 2], query_[n][4 * j + 3]);
      }
    }
    if constexpr (Base::kHalfStep) {
      constexpr int kStep = Base::kWholeSteps;
      const uint2 a = *reinterpret_cast<const uint2*>(row + 64 * kStep + 8 * T());
      const uint2 b = *reinterpret_cast<const uint2*>(row + 8 * kRowBytes + 64 * kStep + 8 * T());
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) {
        Multiply<C>(scores[n], a.x, b.x, a.y, b.y, query_[n][4 * kStep], query_[n][4 * kStep + 1]);
      }
    }
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      for (int i = 0; i < 4; ++i) scores[n][i] += odd[n][i];
    }
  }

  // A lane's vectors `u` of the four keys. Masked rows may hold anything, NaN too: they become 0.
  template <bool kMasked>
  __device__ void LoadVector(const uint8_t* values, int u, int32_t low, int32_t high,
                             uint32_t (&rows)[4][kVector / 2]) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int key = 2 * T() + r / 2 * 8 + r % 2;
      const uint8_t* const from = values + key * kRowBytes + (G() * (kSize / 8) + u * kVector) * 2;
      if constexpr (kVector == 8) {
        const uint4 part = *reinterpret_cast<const uint4*>(from);
        rows[r][0] = part.x;
        rows[r][1] = part.y;
        rows[r][2] = part.z;
        rows[r][3] = part.w;
      } else if constexpr (kVector == 4) {
        const uint2 part = *reinterpret_cast<const uint2*>(from);
        rows[r][0] = part.x;
        rows[r][1] = part.y;
      } else {
        rows[r][0] = *reinterpret_cast<const uint32_t*>(from);
      }
      if (kMasked && (key < low || key > high)) {
        for (uint32_t& pair : rows[r]) pair = 0;
      }
    }
  }

  __device__ void MultiplyVector(const uint32_t (&rows)[4][kVector / 2], int u,
                                 const uint32_t (&weights)[kHeadTiles][2]) {
#pragma unroll
    for (int i = 0; i < kVector / 2; ++i) {
      const uint32_t a0 = __byte_perm(rows[0][i], rows[1][i], 0x5410);
      const uint32_t a1 = __byte_perm(rows[0][i], rows[1][i], 0x7632);
      const uint32_t a2 = __byte_perm(rows[2][i], rows[3][i], 0x5410);
      const uint32_t a3 = __byte_perm(rows[2][i], rows[3][i], 0x7632);
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) {
        Multiply<C>(sums[n][u * (kVector / 2) + i], a0, a1, a2, a3, weights[n][0], weights[n][1]);
      }
    }
  }

  template <bool kMasked>
  __device__ void AddValues(const uint8_t* values, const uint32_t (&weights)[kHeadTiles][2], int32_t low,
                            int32_t high) {
    if constexpr (kVector == 8 && kVectors % 2 == 0) {
      // Lanes of odd t take a pair's vectors the other way round: they would meet the even ones in the banks.
      const int swap = T() & 1;
#pragma unroll
      for (int u = 0; u < kVectors; u += 2) {
        uint32_t a[4][kVector / 2];
        uint32_t b[4][kVector / 2];
        LoadVector<kMasked>(values, u + swap, low, high, a);
        LoadVector<kMasked>(values, u + 1 - swap, low, high, b);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
#pragma unroll
          for (int i = 0; i < kVector / 2; ++i) {
            const uint32_t first = swap ? b[r][i] : a[r][i];
            b[r][i] = swap ? a[r][i] : b[r][i];
            a[r][i] = first;
          }
        }
        MultiplyVector(a, u, weights);
        MultiplyVector(b, u + 1, weights);
      }
    } else {
#pragma unroll
      for (int u = 0; u < kVectors; ++u) {
        uint32_t rows[4][kVector / 2];
        LoadVector<kMasked>(values, u, low, high, rows);
        MultiplyVector(rows, u, weights);
      }
    }
  }
};

// A cache of int8 with an F16 scale for 32 elements. Products are of BF16, in which int8 are exact; a key's
// scale multiplies a group's part of its score, a value's scale its weight.
template <int kSize, int kHeadTiles>
class Int8Tile : public DecodeTile<__nv_bfloat16, kSize, kHeadTiles> {
  using C = __nv_bfloat16;
  using Base = DecodeTile<C, kSize, kHeadTiles>;
  using Base::G;
  using Base::query_;
  using Base::T;
  static constexpr int kGroups = kSize / 32;
  static_assert(kSize % 32 == 0, "tiles do not share a group");

 public:
  static constexpr int kRowBytes = kSize + 2 * kGroups;  // of the cache
  static_assert(kRowBytes % 4 == 0, "rows are read in words");
  using Base::sums;

  static __device__ int ElementOf(int tile) { return tile / 2 * 32 + G() * 4 + tile % 2 * 2; }

  // keys, values: [16] rows.
  template <bool kMasked>
  __device__ void Compute(const uint8_t* keys, const uint8_t* values, float scale_log2, int32_t low,
                          int32_t high) {
    float scores[kHeadTiles][4] = {};
    Scores(keys, scores);
    Base::template Softmax<kMasked>(scores, scale_log2, low, high);
#pragma unroll
    for (int j = 0; j < kGroups; ++j) AddGroup<kMasked>(values, j, scores, low, high);
  }

 private:
  static __device__ float Scale(const uint8_t* row, int group) {
    return __half2float(*reinterpret_cast<const __half*>(row + kSize + 2 * group));
  }

  __device__ void Scores(const uint8_t* keys, float (&scores)[kHeadTiles][4]) {
    const uint8_t* const row = keys + G() * kRowBytes;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      uint32_t fragment[2][4];  // [row g, row g + 8][elements 8 t on, in pairs]
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint32_t bytes =
              *reinterpret_cast<const uint32_t*>(row + r * 8 * kRowBytes + 32 * j + 8 * T() + 4 * half);
          fragment[r][2 * half] = Int8ToBFloat(__byte_perm(bytes, 0, 0x1100));
          fragment[r][2 * half + 1] = Int8ToBFloat(__byte_perm(bytes, 0, 0x3322));
        }
      }
      const float scale[2] = {Scale(row, j), Scale(row + 8 * kRowBytes, j)};
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) {
        float part[4] = {};
        for (int half = 0; half < 2; ++half) {
          Multiply<C>(part, fragment[0][2 * half], fragment[1][2 * half], fragment[0][2 * half + 1],
                      fragment[1][2 * half + 1], query_[n][4 * j + 2 * half],
                      query_[n][4 * j + 2 * half + 1]);
        }
        for (int i = 0; i < 4; ++i) scores[n][i] = fmaf(part[i], scale[i / 2], scores[n][i]);
      }
    }
  }

  template <bool kMasked>
  __device__ void AddGroup(const uint8_t* values, int j, const float (&scores)[kHeadTiles][4], int32_t low,
                           int32_t high) {
    float factor[2];  // of keys g and g + 8; where masked the scale may be NaN
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int key = G() + 8 * r;
      factor[r] = Scale(values + key * kRowBytes, j);
      if (kMasked && (key < low || key > high)) factor[r] = 0;
    }
    uint32_t rows[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int key = 2 * T() + r / 2 * 8 + r % 2;
      rows[r] = *reinterpret_cast<const uint32_t*>(values + key * kRowBytes + 32 * j + 4 * G());
    }
    uint32_t a[4][2];  // [element][keys 2t on, 2t + 8 on]
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const uint32_t bytes = static_cast<uint32_t>(0x4400 + 0x1111 * e);
      a[e][0] = Int8ToBFloat(__byte_perm(rows[0], rows[1], bytes));
      a[e][1] = Int8ToBFloat(__byte_perm(rows[2], rows[3], bytes));
    }
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      uint32_t weights[2];
      Base::Fragment(scores[n], factor, weights);
      Multiply<C>(sums[n][2 * j], a[0][0], a[1][0], a[0][1], a[1][1], weights[0], weights[1]);
      Multiply<C>(sums[n][2 * j + 1], a[2][0], a[3][0], a[2][1], a[3][1], weights[0], weights[1]);
    }
  }
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_DECODE_TILE_CUH_

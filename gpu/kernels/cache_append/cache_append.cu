// Rotation and appending. A thread takes eight elements of a head where everything divides, else a warp takes
// a head, element by element.
#include <algorithm>
#include <cmath>

#include "gpu/kernels/cache_append/cache_append.h"
#include "gpu/kernels/cache_append/store_row.cuh"
#include "gpu/kernels/common/dependency.cuh"

namespace tessera::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;
constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

__global__ void __launch_bounds__(kThreads)
    FillRotaryTable(const float* inverse_frequencies, int32_t pairs, float magnitude, int32_t max_positions,
                    float2* table) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int64_t count = static_cast<int64_t>(max_positions) * pairs;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    // A float's 24 bits times a position's: exact in double.
    const double angle = static_cast<double>(i / pairs) * inverse_frequencies[i % pairs];
    double sine;
    double cosine;
    sincos(angle, &sine, &cosine);
    table[i] = make_float2(static_cast<float>(cosine * magnitude), static_cast<float>(sine * magnitude));
  }
}

// One head of one row. `part`: 0 query, 1 key, 2 value.
struct HeadPlace {
  int32_t part;
  int32_t head;       // of the part
  int64_t input;      // its first element in qkv
  const float* bias;  // nullptr: none
  bool rotated;
};

__device__ HeadPlace LocateHead(const RotateAppendCall& call, int32_t row, int32_t index) {
  const int32_t kv_heads = call.cache.kv_heads;
  const int32_t size = call.cache.head_size;
  HeadPlace place;
  place.part = index < call.heads ? 0 : index < call.heads + kv_heads ? 1 : 2;
  place.head = index - (place.part > 0 ? call.heads : 0) - (place.part > 1 ? kv_heads : 0);
  place.input = (static_cast<int64_t>(row) * (call.heads + 2 * kv_heads) + index) * size;
  place.bias = place.part == 0 ? call.query_bias : place.part == 1 ? call.key_bias : call.value_bias;
  if (place.bias != nullptr) place.bias += static_cast<int64_t>(place.head) * size;
  place.rotated = place.part < 2;
  return place;
}

// The row of the cache for a key or value; nullptr where there is no block.
__device__ uint8_t* LocateRow(const RotateAppendCall& call, int32_t row, const HeadPlace& place) {
  const CacheLayout& cache = call.cache;
  const int32_t sequence = call.step.row_sequence[row];
  if (sequence < 0) return nullptr;
  const int32_t position = call.step.positions[row];
  const int32_t block = call.step.block_table[static_cast<int64_t>(sequence) * call.step.table_stride +
                                              position / cache.block_tokens];
  if (block < 0) return nullptr;
  const int32_t in_block = place.head * cache.block_tokens + position % cache.block_tokens;
  return cache.data + block * cache.block_bytes + cache.layer_offset_bytes +
         (place.part == 2 ? cache.value_offset_bytes : 0) + static_cast<int64_t>(in_block) * cache.row_bytes;
}

__device__ float LoadInput(const RotateAppendCall& call, int64_t index) {
  switch (call.input_type) {
    case ElementType::kF32:
      return static_cast<const float*>(call.qkv)[index];
    case ElementType::kF16:
      return __half2float(static_cast<const __half*>(call.qkv)[index]);
    default:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(call.qkv)[index]);
  }
}

// Eight of them from a multiple of eight, bias added.
__device__ void LoadInputs(const RotateAppendCall& call, const HeadPlace& place, int32_t element,
                           float (&x)[kVector]) {
  const int64_t index = place.input + element;
  if (call.input_type == ElementType::kF32) {
    const auto* const from = reinterpret_cast<const float4*>(static_cast<const float*>(call.qkv) + index);
    *reinterpret_cast<float4*>(x) = from[0];
    *reinterpret_cast<float4*>(x + 4) = from[1];
  } else {
    const uint4 packed = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(call.qkv) + index);
    const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const auto bits = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
      x[i] = call.input_type == ElementType::kF16 ? __half2float(__ushort_as_half(bits))
                                                  : __bfloat162float(__ushort_as_bfloat16(bits));
    }
  }
  if (place.bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) x[i] += place.bias[element + i];
  }
}

__device__ void StoreHalves(void* to, ElementType type, const float (&x)[kVector]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = RoundTo(type, x[2 * i]) | static_cast<uint32_t>(RoundTo(type, x[2 * i + 1])) << 16;
  }
  *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

// Four neighbouring lanes have a group, aligned in the warp; all lanes call it.
__device__ void StoreInt8(uint8_t* row, int32_t head_size, int32_t element, const float (&x)[kVector]) {
  float largest = 0;
  bool finite = true;
#pragma unroll
  for (const float value : x) {
    largest = fmaxf(largest, fabsf(value));
    finite = finite && isfinite(value);
  }
  for (int lanes = 1; lanes < 4; lanes *= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, lanes));
    finite = __shfl_xor_sync(kAllLanes, static_cast<int>(finite), lanes) != 0 && finite;
  }
  if (row == nullptr) return;
  const __half scale = Int8Scale(largest, finite);
  const float inverse = Int8Inverse(scale);
  uint32_t words[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    words[i / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(RoundToInt8(x[i], inverse))) << (i % 4 * 8);
  }
  // A row of 64 elements is 68 bytes long.
  reinterpret_cast<uint32_t*>(row + element)[0] = words[0];
  reinterpret_cast<uint32_t*>(row + element)[1] = words[1];
  if (element % kCacheScaleGroup == 0) Int8Scales(row, head_size)[element / kCacheScaleGroup] = scale;
}

__device__ void RotateVector(const RotateAppendCall& call, const HeadPlace& place, int32_t position,
                             int32_t element, float (&x)[kVector]) {
  const int32_t pairs = call.rotary_dimensions / 2;
  const float2* const angles = call.rotary_table + static_cast<int64_t>(position) * pairs;
  if (call.pairing == RotaryPairing::kInterleaved) {
#pragma unroll
    for (int i = 0; i < kVector; i += 2) {
      const float2 angle = angles[(element + i) / 2];
      const float first = x[i];
      const float second = x[i + 1];
      x[i] = first * angle.x - second * angle.y;
      x[i + 1] = second * angle.x + first * angle.y;
    }
    return;
  }
  const bool is_first = element < pairs;
  const int32_t pair = is_first ? element : element - pairs;
  float other[kVector];
  LoadInputs(call, place, is_first ? element + pairs : pair, other);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float2 angle = angles[pair + i];
    x[i] = is_first ? x[i] * angle.x - other[i] * angle.y : x[i] * angle.x + other[i] * angle.y;
  }
}

// head_size, rotary_dimensions / 2 where halves are paired, and rotary_dimensions are multiples of 8; for
// int8 head_size is one of 32. Blocks: [rows, pieces of a row].
__global__ void __launch_bounds__(kThreads)
    RotateAppendVectors(const __grid_constant__ RotateAppendCall call) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int32_t row = static_cast<int32_t>(blockIdx.x);
  if (row >= call.step.counts[StepArrays::kRows]) return;
  const int32_t size = call.cache.head_size;
  const int32_t piece = static_cast<int32_t>(blockIdx.y * kThreads + threadIdx.x);
  const int32_t index = piece / (size / kVector);
  const int32_t element = piece % (size / kVector) * kVector;
  // Lanes beyond the row's end stay for the shuffles of those before it.
  const bool there = index < call.heads + 2 * call.cache.kv_heads;

  HeadPlace place = {};
  float x[kVector] = {};
  uint8_t* cache_row = nullptr;
  if (there) {
    place = LocateHead(call, row, index);
    LoadInputs(call, place, element, x);
    if (place.rotated && element < call.rotary_dimensions) {
      RotateVector(call, place, call.step.positions[row], element, x);
    }
    if (place.part > 0) cache_row = LocateRow(call, row, place);
  }
  if (call.cache.type == ElementType::kInt8Rows) {
    StoreInt8(cache_row, size, element, x);
  } else if (cache_row != nullptr) {
    StoreHalves(cache_row + 2 * element, call.cache.type, x);
  }
  if (there && place.part == 0) {
    uint16_t* const query = static_cast<uint16_t*>(call.query) +
                            (static_cast<int64_t>(row) * call.heads + place.head) * size + element;
    StoreHalves(query, call.query_type, x);
  }
}

__device__ float LoadOne(const RotateAppendCall& call, const HeadPlace& place, int32_t element) {
  const float x = LoadInput(call, place.input + element);
  return place.bias != nullptr ? x + place.bias[element] : x;
}

__device__ float RotatedOne(const RotateAppendCall& call, const HeadPlace& place, int32_t position,
                            int32_t element) {
  const float x = LoadOne(call, place, element);
  if (!place.rotated || element >= call.rotary_dimensions) return x;
  const int32_t pairs = call.rotary_dimensions / 2;
  const bool interleaved = call.pairing == RotaryPairing::kInterleaved;
  const bool is_first = interleaved ? element % 2 == 0 : element < pairs;
  const int32_t distance = interleaved ? 1 : pairs;
  const float other = LoadOne(call, place, is_first ? element + distance : element - distance);
  const float2 angle = call.rotary_table[static_cast<int64_t>(position) * pairs +
                                         (interleaved ? element / 2 : element % pairs)];
  return is_first ? x * angle.x - other * angle.y : x * angle.x + other * angle.y;
}

// Any sizes. A warp takes a head, 32 elements at a time. Blocks: [rows, heads of a row].
__global__ void __launch_bounds__(kThreads)
    RotateAppendElements(const __grid_constant__ RotateAppendCall call) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int32_t row = static_cast<int32_t>(blockIdx.x);
  const int32_t index = static_cast<int32_t>((blockIdx.y * kThreads + threadIdx.x) / 32);
  const int32_t lane = static_cast<int32_t>(threadIdx.x & 31);
  if (row >= call.step.counts[StepArrays::kRows] || index >= call.heads + 2 * call.cache.kv_heads) return;
  const int32_t size = call.cache.head_size;
  const HeadPlace place = LocateHead(call, row, index);
  const int32_t position = call.step.positions[row];
  uint8_t* const cache_row = place.part > 0 ? LocateRow(call, row, place) : nullptr;
  if (place.part > 0 && cache_row == nullptr) return;
  uint16_t* const query =
      static_cast<uint16_t*>(call.query) + (static_cast<int64_t>(row) * call.heads + place.head) * size;
  for (int32_t first = 0; first < size; first += 32) {
    const int32_t element = first + lane;
    const bool there = element < size;
    const float x = there ? RotatedOne(call, place, position, element) : 0.0f;
    if (place.part == 0) {
      if (there) query[element] = RoundTo(call.query_type, x);
    } else if (call.cache.type != ElementType::kInt8Rows) {
      if (there) reinterpret_cast<uint16_t*>(cache_row)[element] = RoundTo(call.cache.type, x);
    } else {
      float largest = fabsf(x);
      for (int lanes = 1; lanes < 32; lanes *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, lanes));
      }
      const __half scale = Int8Scale(largest, __all_sync(kAllLanes, isfinite(x)) != 0);
      if (there) reinterpret_cast<int8_t*>(cache_row)[element] = RoundToInt8(x, Int8Inverse(scale));
      if (lane == 0) Int8Scales(cache_row, size)[first / kCacheScaleGroup] = scale;
    }
  }
}

// A thread copies the same 16 bytes of every block, so that their order is its own.
__global__ void __launch_bounds__(kThreads)
    CopyBlockPieces(uint8_t* cache, int64_t block_bytes, BlockCopies copies) {
  ReleaseSuccessor();
  AwaitPredecessor();
  const int32_t count = *copies.count;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (int32_t i = 0; i < count; ++i) {
    const uint8_t* const from = cache + copies.pairs[2 * i] * block_bytes;
    uint8_t* const to = cache + copies.pairs[2 * i + 1] * block_bytes;
    if (block_bytes % 16 == 0) {
      for (int64_t piece = thread; piece < block_bytes / 16; piece += stride) {
        reinterpret_cast<uint4*>(to)[piece] = reinterpret_cast<const uint4*>(from)[piece];
      }
    } else {
      for (int64_t piece = thread; piece < block_bytes / 2; piece += stride) {
        reinterpret_cast<uint16_t*>(to)[piece] = reinterpret_cast<const uint16_t*>(from)[piece];
      }
    }
  }
}

uint32_t Blocks(int64_t items, int64_t per_block) {
  return static_cast<uint32_t>((items + per_block - 1) / per_block);
}

bool IsVectorised(const RotateAppendCall& call) {
  const CacheLayout& cache = call.cache;
  const bool int8 = cache.type == ElementType::kInt8Rows;
  // What vectors stand at in the cache: 16 bytes of elements, or words of int8.
  const int64_t alignment = int8 ? 4 : 16;
  const int64_t together = reinterpret_cast<int64_t>(cache.data) | cache.block_bytes |
                           cache.layer_offset_bytes | cache.value_offset_bytes | cache.row_bytes;
  const int32_t run =
      call.pairing == RotaryPairing::kHalves ? call.rotary_dimensions / 2 : call.rotary_dimensions;
  return cache.head_size % (int8 ? kCacheScaleGroup : kVector) == 0 && run % kVector == 0 &&
         together % alignment == 0;
}

}  // namespace

size_t RotaryTableBytes(int32_t max_positions, int32_t pairs) {
  return static_cast<size_t>(max_positions) * pairs * sizeof(float2);
}

cudaError_t LaunchRotaryTable(const LaunchContext& context, const float* inverse_frequencies, int32_t pairs,
                              float magnitude, int32_t max_positions, float2* table) {
  const int64_t count = static_cast<int64_t>(max_positions) * pairs;
  if (count == 0) return cudaSuccess;
  const uint32_t blocks = std::min(Blocks(count, kThreads), static_cast<uint32_t>(context.sm_count) * 8);
  return Launch(context, FillRotaryTable, dim3(blocks), dim3(kThreads), 0, inverse_frequencies, pairs,
                magnitude, max_positions, table);
}

cudaError_t LaunchRotateAppend(const LaunchContext& context, const RotateAppendCall& call) {
  const int64_t row_heads = call.heads + 2 * call.cache.kv_heads;
  if (IsVectorised(call)) {
    const dim3 grid(call.capacity, Blocks(row_heads * (call.cache.head_size / kVector), kThreads));
    return Launch(context, RotateAppendVectors, grid, dim3(kThreads), 0, call);
  }
  const dim3 grid(call.capacity, Blocks(row_heads, kThreads / 32));
  return Launch(context, RotateAppendElements, grid, dim3(kThreads), 0, call);
}

cudaError_t LaunchCopyBlocks(const LaunchContext& context, uint8_t* cache, int64_t block_bytes,
                             const BlockCopies& copies) {
  const uint32_t blocks =
      std::min(Blocks(block_bytes, 16 * kThreads), static_cast<uint32_t>(context.sm_count) * 4);
  return Launch(context, CopyBlockPieces, dim3(blocks), dim3(kThreads), 0, cache, block_bytes, copies);
}

}  // namespace tessera::gpu

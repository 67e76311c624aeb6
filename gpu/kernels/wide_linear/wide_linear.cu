#include <algorithm>

#include "gpu/kernels/wide_linear/wide_args.h"
#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {
namespace {

constexpr int kMostSharedBytes = 227 * 1024;
constexpr int kHalfStep = 16;
constexpr int kAlignBytes = 1024;  // the dynamic shared memory's beginning is moved to such a boundary
constexpr int kMostBoxRows = 128;

// cuTensorMapEncodeTiled of the driver that the process has; null: it is too old.
using EncodeFunction = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                    const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                    CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                    CUtensorMapFloatOOBfill);
EncodeFunction FindEncode() {
  static const EncodeFunction encode = [] {
    void* address = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address, 12000,
                                                               cudaEnableDefault, &found);
#else
    const cudaError_t error =
        cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &address, cudaEnableDefault, &found);
#endif
    const bool there = error == cudaSuccess && found == cudaDriverEntryPointSuccess;
    return there ? reinterpret_cast<EncodeFunction>(address) : nullptr;
  }();
  return encode;
}

// [groups, rows, columns] of elements of 2 bytes, by boxes of a chunk's columns.
bool Encode(ElementType type, const void* data, int columns, int rows, int groups, int box_rows,
            int box_groups, int rank, CUtensorMap* map) {
  const EncodeFunction encode = FindEncode();
  if (encode == nullptr) return false;
  const cuuint64_t row_bytes = static_cast<cuuint64_t>(columns) * 2;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(groups)};
  const cuuint64_t strides[] = {row_bytes, row_bytes * static_cast<cuuint64_t>(rows)};
  const cuuint32_t box[] = {kWideChunk, static_cast<cuuint32_t>(box_rows),
                            static_cast<cuuint32_t>(box_groups)};
  const cuuint32_t steps[] = {1, 1, 1};
  return encode(
             map,
             type == ElementType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
             static_cast<cuuint32_t>(rank), const_cast<void*>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// Of a node's rows of weights, those that a tile's first half takes make `half` outputs of kGateUp.
int OutputsOfTile(StreamKind kind, int half) { return kind == StreamKind::kGateUp ? half : 2 * half; }

int TilesOf(StreamKind kind, int outputs, int half) {
  const int of_tile = OutputsOfTile(kind, half);
  return (outputs + of_tile - 1) / of_tile;
}

// The half that deals a node's rows to the clusters most evenly; among equals the highest, which re-reads the
// input least. 0: none.
int ChooseHalf(const WideSetup& setup, StreamKind kind, int outputs) {
  int best = 0;
  int64_t best_cost = 0;
  for (int half = kHalfStep; half <= kHalfStep * kWideInstances; half += kHalfStep) {
    const int tiles = TilesOf(kind, outputs, half);
    if (kind == StreamKind::kResidual && tiles > kMostStreamBlocks) continue;
    // Rows of the cluster that has most, and 16 rows more for what a tile costs beside its weights.
    const int64_t cost = int64_t{(tiles + setup.clusters - 1) / setup.clusters} * (2 * half + 16);
    if (best == 0 || cost <= best_cost) {
      best = half;
      best_cost = cost;
    }
  }
  return best;
}

int LargestRun(int half, int head_size) {
  for (int run = kMostBoxRows / 2; run >= 8; run /= 2) {
    if (half % run == 0 && head_size % (2 * run) == 0) return run;
  }
  return 0;
}

bool Aligned(const void* data) { return data != nullptr && reinterpret_cast<uintptr_t>(data) % 16 == 0; }

bool FillSource(const WideSetup& setup, ElementType type, const WideNode& wide, WideSource* source) {
  const StreamNode& node = wide.node;
  const int columns = node.input.columns;
  source->kind = node.kind;
  source->half = ChooseHalf(setup, node.kind, node.outputs);
  if (source->half == 0) return false;
  source->tiles = TilesOf(node.kind, node.outputs, source->half);
  source->clusters = std::min(source->tiles, setup.clusters);
  source->chunks = (columns + kWideChunk - 1) / kWideChunk;
  if (node.kind == StreamKind::kQkv) {
    const StreamQkv& qkv = wide.qkv;
    const int run = LargestRun(source->half, qkv.head_size);
    if (run == 0) return false;
    source->run = run;
    source->halves = qkv.halves && qkv.rotary_dimensions > 0;
    source->copies = source->half / run;
    source->copy_bytes = 2 * run * kWideChunkRowBytes;
    source->head_boxes = qkv.head_size / (2 * run);
    source->query_boxes = qkv.heads * source->head_boxes;
    source->key_boxes = qkv.kv_heads * source->head_boxes;
    const void* const matrices[] = {qkv.query, qkv.key, qkv.value};
    for (int i = 0; i < 3; ++i) {
      const int heads = i == 0 ? qkv.heads : qkv.kv_heads;
      const bool made =
          source->halves
              ? Encode(type, matrices[i], columns, qkv.head_size / 2, 2 * heads, run, 2, 3, &source->maps[i])
              : Encode(type, matrices[i], columns, heads * qkv.head_size, 1, 2 * run, 1, 3, &source->maps[i]);
      if (!made) return false;
    }
    return true;
  }
  const bool pairs = node.kind == StreamKind::kGateUp;
  source->copies = pairs ? 2 : 1;
  const int box_rows = pairs ? source->half : 2 * source->half;
  source->copy_bytes = box_rows * kWideChunkRowBytes;
  if (!Encode(type, node.weight, columns, node.outputs, 1, box_rows, 1, 3, &source->maps[0])) return false;
  return !pairs || Encode(type, node.up, columns, node.outputs, 1, box_rows, 1, 3, &source->maps[1]);
}

WideKernel KernelOf(ElementType type, int half) {
  const int instance = half / kHalfStep - 1;
  return type == ElementType::kF16 ? WideKernelOfF16(instance) : WideKernelOfBf16(instance);
}

int FixedBytes(int padded_rows, int half) {
  return kAlignBytes + kWideHeadBytes + padded_rows * 2 * half * 4;
}
int StageBytes(int padded_rows, int half) { return (padded_rows + 2 * half) * kWideChunkRowBytes; }

}  // namespace

cudaError_t PrepareWideKernels(WideSetup* setup) {
  int device = 0;
  int major = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error != cudaSuccess) return error;
  if (major != 9 || FindEncode() == nullptr) return cudaErrorNotSupported;
  for (const ElementType type : {ElementType::kBF16, ElementType::kF16}) {
    for (int i = 1; i <= kWideInstances; ++i) {
      error = AllowSharedMemory(KernelOf(type, i * kHalfStep), kMostSharedBytes);
      if (error != cudaSuccess) return error;
    }
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kClusterBlocks);
  config.blockDim = dim3(kWideThreads);
  config.dynamicSmemBytes = kMostSharedBytes;
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kClusterBlocks, 1, 1};
  config.attrs = &cluster;
  config.numAttrs = 1;
  error = cudaOccupancyMaxActiveClusters(
      &setup->clusters, reinterpret_cast<const void*>(KernelOf(ElementType::kBF16, kHalfStep)), &config);
  if (error != cudaSuccess) return error;
  setup->shared_bytes = kMostSharedBytes;
  return setup->clusters > 0 ? cudaSuccess : cudaErrorNotSupported;
}

int WideSquareParts(const WideSetup& setup, int outputs) {
  return TilesOf(StreamKind::kResidual, outputs, ChooseHalf(setup, StreamKind::kResidual, outputs));
}

bool WideFits(const WideSetup& setup, ElementType type, const WideNode& wide) {
  const StreamNode& node = wide.node;
  if (type != ElementType::kBF16 && type != ElementType::kF16) return false;
  if (node.input.rows < 1 || node.input.rows > kMostWideRows) return false;
  if (node.input.columns < 8 || node.input.columns % 8 != 0 || node.outputs < 1) return false;
  const int half = setup.clusters > 0 ? ChooseHalf(setup, node.kind, node.outputs) : 0;
  if (half == 0) return false;
  const int padded = (node.input.rows + 7) / 8 * 8;
  if (FixedBytes(padded, half) + 2 * StageBytes(padded, half) > setup.shared_bytes) return false;
  switch (node.kind) {
    case StreamKind::kQkv: {
      const StreamQkv& qkv = wide.qkv;
      if (qkv.cache.type != ElementType::kBF16 && qkv.cache.type != ElementType::kF16) return false;
      if (node.outputs != (qkv.heads + 2 * qkv.kv_heads) * qkv.head_size) return false;
      if (qkv.halves && qkv.rotary_dimensions != 0 && qkv.rotary_dimensions != qkv.head_size) return false;
      return qkv.rotary_dimensions % 2 == 0 && LargestRun(half, qkv.head_size) > 0 && Aligned(qkv.query) &&
             Aligned(qkv.key) && Aligned(qkv.value);
    }
    case StreamKind::kGateUp:
      return node.outputs % 2 == 0 && Aligned(node.weight) && Aligned(node.up);
    case StreamKind::kResidual:
      return node.outputs % 2 == 0 && Aligned(node.weight);
    case StreamKind::kHead:
      return Aligned(node.weight);
  }
  return false;
}

cudaError_t LaunchWideLinear(const LaunchContext& context, const WideSetup& setup, ElementType type,
                             const WideNode& wide, const WideNode* next, bool prefetched) {
  if (!WideFits(setup, type, wide) || !Aligned(wide.node.input.x)) return cudaErrorInvalidValue;
  WideArgs args = {};
  if (!FillSource(setup, type, wide, &args.source)) return cudaErrorInvalidValue;
  args.next.kind = StreamKind::kHead;
  if (next != nullptr && setup.ahead_bytes > 0 && !FillSource(setup, type, *next, &args.next)) {
    return cudaErrorInvalidValue;
  }
  const StreamInput& input = wide.node.input;
  args.padded_rows = (input.rows + 7) / 8 * 8;
  if (!Encode(type, input.x, input.columns, input.rows, 1, args.padded_rows, 1, 2, &args.x)) {
    return cudaErrorInvalidValue;
  }
  args.node = wide.node;
  args.qkv = wide.qkv;
  const int half = args.source.half;
  const int fixed = FixedBytes(args.padded_rows, half);
  const int stage = StageBytes(args.padded_rows, half);
  const int chunk = 2 * half * kWideChunkRowBytes;
  args.stages = std::min((setup.shared_bytes - fixed) / stage, kMostWideStages);
  args.in_flight = std::clamp((setup.in_flight_bytes + chunk - 1) / chunk, 1, args.stages);
  args.ahead = setup.ahead_bytes / chunk;
  args.first_ahead = prefetched ? args.ahead : 0;
  args.pace_ns = static_cast<int>(int64_t{setup.pace_ns} * chunk / 8192);
  args.release_early = setup.release_early;

  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(args.source.clusters * kClusterBlocks));
  config.blockDim = dim3(kWideThreads);
  config.dynamicSmemBytes = static_cast<size_t>(fixed + args.stages * stage);
  config.stream = context.stream;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {kClusterBlocks, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  config.attrs = attributes;
  config.numAttrs = context.overlap ? 2 : 1;
  void* arguments[] = {&args};
  return cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(KernelOf(type, half)), arguments);
}

}  // namespace tessera::gpu

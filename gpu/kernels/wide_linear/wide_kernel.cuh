// The kernel of wide_linear.h. A warp brings weights, one brings the input, and two warpgroups multiply, each
// half of a tile's rows, and finish what comes of it.
#ifndef TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_KERNEL_CUH_
#define TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_KERNEL_CUH_

#include "gpu/kernels/wide_linear/wide_finish.cuh"

namespace tessera::gpu {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Where things are in shared memory. Unused rows of a stage's input are whatever follows it: they only reach
// sums that nobody reads. So the weights stand behind all the input.
struct WideShared {
  uint32_t weights_full;   // [kMostWideStages]
  uint32_t input_full;     // [kMostWideStages]
  uint32_t empty;          // [kMostWideStages]
  uint32_t inbox_full;     // all four blocks' sums of a tile are here
  uint32_t inboxes_empty;  // all four blocks have read theirs
  uint32_t finished;
  uint32_t inbox;
  uint32_t input;
  uint32_t weights;
};
static_assert(8 * (3 * kMostWideStages + 3) <= kWideHeadBytes);

__device__ __forceinline__ WideShared PlacesInShared(const WideArgs& args, uint32_t base) {
  WideShared shared;
  shared.weights_full = base;
  shared.input_full = shared.weights_full + 8 * kMostWideStages;
  shared.empty = shared.input_full + 8 * kMostWideStages;
  shared.inbox_full = shared.empty + 8 * kMostWideStages;
  shared.inboxes_empty = shared.inbox_full + 8;
  shared.finished = shared.inboxes_empty + 8;
  shared.inbox = base + kWideHeadBytes;
  shared.input = shared.inbox + args.padded_rows * 2 * args.source.half * 4;
  shared.weights = shared.input + args.stages * args.padded_rows * kWideChunkRowBytes;
  return shared;
}

// A cluster's tiles and a block's chunks, of a node.
struct WideShare {
  int first_tile, end_tile;
  int first_chunk, end_chunk;
};
__device__ __forceinline__ WideShare ShareOf(const WideSource& source, int cluster, int rank) {
  WideShare share;
  share.first_tile = share.end_tile = 0;
  if (cluster < source.clusters) {
    share.first_tile = static_cast<int>(static_cast<int64_t>(source.tiles) * cluster / source.clusters);
    share.end_tile = static_cast<int>(static_cast<int64_t>(source.tiles) * (cluster + 1) / source.clusters);
  }
  share.first_chunk = source.chunks * rank / kClusterBlocks;
  share.end_chunk = source.chunks * (rank + 1) / kClusterBlocks;
  return share;
}

// A place in the stream of a block's weights, and the lane's box there: lane i has a tile's i-th.
class WideCursor {
 public:
  // To the block's first chunk of a source; at its end where it has none.
  __device__ __forceinline__ void Enter(const WideSource& source, int cluster, int rank) {
    source_ = &source;
    share_ = ShareOf(source, cluster, rank);
    if (share_.first_chunk == share_.end_chunk) share_.end_tile = share_.first_tile;
    tile_ = share_.first_tile;
    chunk_ = share_.first_chunk;
    Place();
  }
  __device__ __forceinline__ bool AtEnd() const { return tile_ >= share_.end_tile; }
  __device__ __forceinline__ void Advance() {
    if (++chunk_ < share_.end_chunk) return;
    chunk_ = share_.first_chunk;
    ++tile_;
    Place();
  }
  __device__ __forceinline__ int copies() const { return source_->copies; }
  __device__ __forceinline__ int copy_bytes() const { return source_->copy_bytes; }
  __device__ __forceinline__ void Copy(uint32_t to, uint32_t barrier, uint64_t policy) const {
    TensorCopy(to, map_, chunk_ * kWideChunk, row_, group_, barrier, policy);
  }
  __device__ __forceinline__ void Prefetch() const {
    TensorPrefetch(map_, chunk_ * kWideChunk, row_, group_);
  }

 private:
  __device__ __forceinline__ void Place() {
    const int lane = threadIdx.x % 32;
    map_ = &source_->maps[0];
    group_ = 0;
    if (source_->kind == StreamKind::kQkv) {
      const QkvBox at = FindBox(*source_, tile_ * source_->copies + lane);
      map_ = &source_->maps[at.matrix];
      if (source_->halves) {
        row_ = at.box % source_->head_boxes * source_->run;
        group_ = at.box / source_->head_boxes * 2;
      } else {
        row_ = at.box * 2 * source_->run;
      }
    } else if (source_->kind == StreamKind::kGateUp) {
      if (lane == 1) map_ = &source_->maps[1];
      row_ = tile_ * source_->half;
    } else {
      row_ = tile_ * 2 * source_->half;
    }
  }

  const WideSource* source_ = nullptr;
  WideShare share_ = {};
  int tile_ = 0;
  int chunk_ = 0;
  const CUtensorMap* map_ = nullptr;
  int row_ = 0;
  int group_ = 0;
};

// One warp: the ring's weights, and while it cannot load, prefetches into the L2 cache at the memory's pace,
// of the next kernel's weights too.
class WideWeights {
 public:
  __device__ __forceinline__ WideWeights(const WideArgs& args, const WideShared& shared, int cluster,
                                         int rank)
      : args_(args),
        shared_(shared),
        cluster_(cluster),
        rank_(rank),
        lane_(threadIdx.x % 32),
        policy_(EvictFirstPolicy()) {}

  __device__ __forceinline__ void Run() {
    issue_.Enter(args_.source, cluster_, rank_);
    EnterAhead();
    for (int i = 0; i < args_.first_ahead && !AheadAtEnd(); ++i) AdvanceAhead();
    int stage = 0;
    uint32_t round = 0;
    int oldest = 0;
    uint32_t oldest_round = 0;
    int on_way = 0;
    while (!issue_.AtEnd()) {
      if (round > 0) Await(shared_.empty + 8 * stage, (round - 1) & 1);
      if (on_way == args_.in_flight) {
        Await(shared_.weights_full + 8 * oldest, oldest_round & 1);
        if (++oldest == args_.stages) {
          oldest = 0;
          ++oldest_round;
        }
      } else {
        ++on_way;
      }
      const uint32_t barrier = shared_.weights_full + 8 * stage;
      const int bytes = issue_.copy_bytes();
      if (lane_ == 0) BarrierArriveExpect(barrier, bytes * issue_.copies());
      __syncwarp();
      if (lane_ < issue_.copies()) {
        issue_.Copy(shared_.weights + (stage * issue_.copies() + lane_) * bytes, barrier, policy_);
      }
      issue_.Advance();
      if (--lead_ < 0) {
        lead_ = 0;
        AdvanceAhead(false);
      }
      if (++stage == args_.stages) {
        stage = 0;
        ++round;
      }
    }
    while (lead_ < args_.ahead && !AheadAtEnd() && !Ended(shared_.finished, 0)) LookAhead();
  }

 private:
  __device__ __forceinline__ static bool Ended(uint32_t barrier, uint32_t parity) {
    return __any_sync(0xFFFFFFFFu, BarrierTest(barrier, parity));
  }
  __device__ __forceinline__ void Await(uint32_t barrier, uint32_t parity) {
    if (args_.ahead == 0) {
      BarrierWait(barrier, parity);
    } else {
      while (!Ended(barrier, parity)) LookAhead();
    }
    __syncwarp();
  }

  __device__ __forceinline__ void EnterAhead() {
    ahead_in_next_ = false;
    ahead_.Enter(args_.source, cluster_, rank_);
    lead_ = 0;
    SkipToNext();
  }
  __device__ __forceinline__ void SkipToNext() {
    if (!ahead_.AtEnd() || ahead_in_next_) return;
    ahead_in_next_ = true;
    ahead_.Enter(args_.next, cluster_, rank_);
  }
  __device__ __forceinline__ bool AheadAtEnd() const { return ahead_in_next_ && ahead_.AtEnd(); }
  __device__ __forceinline__ void AdvanceAhead(bool leads = true) {
    if (AheadAtEnd()) return;
    ahead_.Advance();
    SkipToNext();
    if (leads) ++lead_;
  }
  __device__ __forceinline__ void LookAhead() {
    if (lead_ >= args_.ahead || AheadAtEnd()) return;
    const uint64_t now = __shfl_sync(0xFFFFFFFFu, GlobalTimer(), 0);
    if (now - last_ns_ < static_cast<uint64_t>(args_.pace_ns)) return;
    last_ns_ = now;
    if (lane_ < ahead_.copies()) ahead_.Prefetch();
    AdvanceAhead();
  }

  const WideArgs& args_;
  const WideShared& shared_;
  const int cluster_;
  const int rank_;
  const int lane_;
  const uint64_t policy_;
  WideCursor issue_;
  WideCursor ahead_;  // of the L2 cache
  bool ahead_in_next_ = false;
  int lead_ = 0;  // chunks between the two
  uint64_t last_ns_ = 0;
};

// One lane: the ring's input, which the kernel before writes.
__device__ __forceinline__ void BringInput(const WideArgs& args, const WideShared& shared,
                                           const WideShare& share) {
  AwaitPredecessor();
  if (!args.release_early) ReleaseSuccessor();
  const uint64_t policy = EvictNormalPolicy();
  const int bytes = args.padded_rows * kWideChunkRowBytes;
  int stage = 0;
  uint32_t round = 0;
  for (int tile = share.first_tile; tile < share.end_tile; ++tile) {
    for (int chunk = share.first_chunk; chunk < share.end_chunk; ++chunk) {
      if (round > 0) BarrierWait(shared.empty + 8 * stage, (round - 1) & 1);
      const uint32_t barrier = shared.input_full + 8 * stage;
      BarrierArriveExpect(barrier, bytes);
      TensorCopy(shared.input + stage * bytes, &args.x, chunk * kWideChunk, 0, barrier, policy);
      if (++stage == args.stages) {
        stage = 0;
        ++round;
      }
    }
  }
}

// Two warpgroups. Both multiply all rows of the input by a half of the tile's.
template <typename T, int half>
__device__ __forceinline__ void RunWideConsumer(const WideArgs& args, const WideShared& shared,
                                                const WideShare& share, int rank, const float* inbox_data) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int group = warp / 4;
  const int slots = args.padded_rows / kClusterBlocks;
  const int input_bytes = args.padded_rows * kWideChunkRowBytes;
  constexpr int kWeightBytes = 2 * half * kWideChunkRowBytes;
  const Inbox<half> inbox(inbox_data, slots);
  AwaitPredecessor();
  WideRows rows;
  FindRows(args, rank, warp, &rows);
  ClusterWait();
  int stage = 0;
  uint32_t parity = 0;
  uint32_t turn = 0;  // tiles before this one
  for (int tile = share.first_tile; tile < share.end_tile; ++tile, ++turn) {
    float sums[half / 2];
#pragma unroll
    for (int i = 0; i < half / 2; ++i) sums[i] = 0;
    int before = -1;  // stage that the last group but one may still read
    for (int chunk = share.first_chunk; chunk < share.end_chunk; ++chunk) {
      BarrierWait(shared.weights_full + 8 * stage, parity);
      BarrierWait(shared.input_full + 8 * stage, parity);
      __syncwarp();
      const uint64_t a = SwizzledMatrix(shared.input + stage * input_bytes);
      const uint64_t b =
          SwizzledMatrix(shared.weights + stage * kWeightBytes + group * half * kWideChunkRowBytes);
      WarpgroupFence();
#pragma unroll
      for (int k = 0; k < kWideChunk / 16; ++k) WarpgroupMma<T, half>(sums, a + 2 * k, b + 2 * k);
      WarpgroupCommit();
      WarpgroupWait<1>();
      if (before >= 0 && lane == 0) BarrierArrive(shared.empty + 8 * before);
      before = stage;
      if (++stage == args.stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    WarpgroupWait<0>();
    if (before >= 0 && lane == 0) BarrierArrive(shared.empty + 8 * before);
    if (threadIdx.x == 0) {
      BarrierArriveExpect(shared.inbox_full, kClusterBlocks * slots * 2 * half * sizeof(float));
    }
    if (turn > 0) PeerBarrierWait(shared.inboxes_empty, (turn - 1) & 1);
    __syncwarp();
    SendSums<half>(sums, args.padded_rows, rank, shared.inbox, shared.inbox_full);
    const auto arrived = [&] {
      PeerBarrierWait(shared.inbox_full, turn & 1);
      __syncwarp();
    };
    switch (args.node.kind) {
      case StreamKind::kQkv:
        FinishQkv<T, half>(args, rows, inbox, tile, arrived);
        break;
      case StreamKind::kResidual:
        FinishResidual<T, half>(args, rows, inbox, tile, arrived);
        break;
      case StreamKind::kGateUp:
        FinishGateUp<T, half>(args, rows, inbox, tile, arrived);
        break;
      case StreamKind::kHead:
        FinishHead<half>(args, rows, inbox, tile, arrived);
        break;
    }
    __syncwarp();
    if (lane < kClusterBlocks) PeerArrive(PeerAddress(shared.inboxes_empty, lane));
  }
  __syncwarp();
  if (lane == 0) BarrierArrive(shared.finished);
}

#endif

template <typename T, int half>
__global__ void __launch_bounds__(kWideThreads, 1) WideLinearKernel(const __grid_constant__ WideArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t dynamic[];
  const uint32_t start = SharedAddress(dynamic);
  const uint32_t base = (start + 1023) & ~1023u;
  const WideShared shared = PlacesInShared(args, base);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int rank = static_cast<int>(ClusterRank());
  const int cluster = blockIdx.x / kClusterBlocks;
  const WideShare share = ShareOf(args.source, cluster, rank);
  if (threadIdx.x == 0) {
    for (int i = 0; i < args.stages; ++i) {
      BarrierInit(shared.weights_full + 8 * i, 1);
      BarrierInit(shared.input_full + 8 * i, 1);
      BarrierInit(shared.empty + 8 * i, kWideConsumerWarps);
    }
    BarrierInit(shared.inbox_full, 1);
    BarrierInit(shared.inboxes_empty, kClusterBlocks * kWideConsumerWarps);
    BarrierInit(shared.finished, kWideConsumerWarps);
    BarrierInitFence();
    if (args.release_early) ReleaseSuccessor();
  }
  __syncthreads();
  ClusterArrive();
  if (warp == kWideConsumerWarps) {
    WideWeights(args, shared, cluster, rank).Run();
    AwaitPredecessor();
    ClusterWait();
  } else if (warp == kWideConsumerWarps + 1) {
    if (lane == 0) {
      PrefetchTensorMap(&args.x);
      BringInput(args, shared, share);
    }
    __syncwarp();
    AwaitPredecessor();
    ClusterWait();
  } else {
    RunWideConsumer<T, half>(args, shared, share, rank,
                             reinterpret_cast<const float*>(dynamic + (shared.inbox - start)));
  }
  // Nobody leaves while others may still write to its shared memory.
  ClusterArrive();
  ClusterWait();
#endif
}

template <typename T>
WideKernel WideKernelOf(int instance) {
  switch (instance) {
    case 0:
      return &WideLinearKernel<T, 16>;
    case 1:
      return &WideLinearKernel<T, 32>;
    case 2:
      return &WideLinearKernel<T, 48>;
    case 3:
      return &WideLinearKernel<T, 64>;
    case 4:
      return &WideLinearKernel<T, 80>;
    case 5:
      return &WideLinearKernel<T, 96>;
    case 6:
      return &WideLinearKernel<T, 112>;
    default:
      return &WideLinearKernel<T, 128>;
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_WIDE_LINEAR_WIDE_KERNEL_CUH_

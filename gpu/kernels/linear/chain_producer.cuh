// The warp that brings weights. It walks the block's rows of all the chain's nodes, issues copies into the
// ring as stages become free, few at once, and while there is no free stage asks for what comes next into L2.
#ifndef TESSERA_GPU_KERNELS_LINEAR_CHAIN_PRODUCER_CUH_
#define TESSERA_GPU_KERNELS_LINEAR_CHAIN_PRODUCER_CUH_

#include <cstdint>

#include "gpu/kernels/common/dependency.cuh"
#include "gpu/kernels/common/ptx.cuh"
#include "gpu/kernels/linear/chain_barriers.cuh"
#include "gpu/kernels/linear/chain_ledger.cuh"
#include "gpu/kernels/linear/chain_tiles.cuh"

#if __CUDA_ARCH__ >= 900

namespace tessera::gpu::chain {

// A place in the stream of a block's weights: a piece of a chunk of a tile of a node. What changes seldom is
// kept, so that going on is cheap.
template <typename T>
struct StreamCursor {
  int node = 0;
  int tile = 0;
  int end_tile = 0;
  int columns = 0;
  int first = 0;  // column of the chunk
  int piece = 0;
  const T* row = nullptr;  // of the lane, in the tile

  __device__ __forceinline__ static const StreamNode& NodeAt(const ChainArgs& args, int node) {
    return node < args.chain.count ? args.chain.nodes[node] : args.chain.next[node - args.chain.count];
  }
  __device__ __forceinline__ void TakeRow(const ChainArgs& args) {
    row = RowOfTile<T>(args.chain, NodeAt(args, node), tile, threadIdx.x % kTileRows);
  }
  // To the beginning of the first node, from `at` on and before `end`, of which the block has tiles.
  __device__ __forceinline__ void Enter(const ChainArgs& args, int at, int end) {
    for (node = at; node < end; ++node) {
      tile = FirstTile(args.tiles[node], blockIdx.x);
      end_tile = FirstTile(args.tiles[node], blockIdx.x + 1);
      if (tile < end_tile) break;
    }
    first = 0;
    piece = 0;
    if (node == end) return;
    columns = NodeAt(args, node).input.columns;
    TakeRow(args);
  }
  // To the next chunk.
  __device__ __forceinline__ void NextChunk(const ChainArgs& args, int end) {
    piece = 0;
    first += kChunkColumns;
    if (first < columns) return;
    first = 0;
    if (++tile < end_tile) {
      TakeRow(args);
    } else {
      Enter(args, node + 1, end);
    }
  }
  __device__ __forceinline__ int bytes() const { return min(kChunkColumns, columns - first) * 2; }
};

// A place in the ring: a stage, and how often it was used before, modulo 2.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next(int stages) {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// One warp: the ring's loads, of all nodes.
template <typename T>
class Producer {
 public:
  __device__ __forceinline__ Producer(const ChainArgs& args, const Barriers& barriers, uint32_t ring)
      : args_(args),
        barriers_(barriers),
        ring_(ring),
        lane_(threadIdx.x % 32),
        stages_(args.stages),
        policy_(EvictFirstPolicy()) {}

  __device__ __forceinline__ void Run() {
    const int end = args_.chain.count;
    issue_.Enter(args_, 0, end);
    ahead_ = issue_;
    while (issue_.node < end) {
      Stamp(args_.chain, issue_.node, kStampIssue);
      FreeStage();
      IssueChunk();
    }
    // What the next chain will read, while the block computes on.
    while (ahead_pieces_ < args_.chain.most_ahead && ahead_.node < end + args_.chain.next_count &&
           !Ended(barriers_.finished, 0)) {
      LookAhead();
    }
    AwaitPredecessor();
  }

 private:
  __device__ __forceinline__ static bool Ended(uint32_t barrier, uint32_t parity) {
    return __any_sync(0xFFFFFFFFu, BarrierTest(barrier, parity));
  }

  // Follows the consumers, until there is room for a stage.
  __device__ __forceinline__ void FreeStage() {
    while (held_ > 0 && Ended(barriers_.empty + 8 * read_.stage, read_.parity)) {
      --held_;
      read_.Next(stages_);
    }
    while (held_ == stages_) {
      LookAhead();
      if (!Ended(barriers_.empty + 8 * read_.stage, read_.parity)) continue;
      --held_;
      read_.Next(stages_);
    }
  }

  __device__ __forceinline__ void IssueChunk() {
    const uint32_t row_stride = ShapeOfRing(issue_.columns).row_stride;
    const int bytes = issue_.bytes();
    const int most_on_way = held_ >= kWellAhead ? args_.chain.in_flight_ahead : args_.chain.in_flight;
    const uint32_t to = ring_ + write_.stage * args_.stage_bytes + lane_ * row_stride;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      while (on_way_ >= most_on_way) {
        BarrierWait(barriers_.full + 8 * (arriving_.stage * kPieces + arriving_piece_), arriving_.parity);
        --on_way_;
        if (++arriving_piece_ == kPieces) {
          arriving_piece_ = 0;
          arriving_.Next(stages_);
        }
      }
      ++on_way_;
      const uint32_t barrier = barriers_.full + 8 * (write_.stage * kPieces + piece);
      if (lane_ == piece * kPieceRows) BarrierArriveExpect(barrier, bytes * kPieceRows);
      __syncwarp();
      if (lane_ / kPieceRows == piece) BulkCopy(to, issue_.row + issue_.first, bytes, barrier, policy_);
    }
    write_.Next(stages_);
    ++held_;
    issue_.NextChunk(args_, args_.chain.count);
    ahead_pieces_ -= kPieces;
    if (ahead_pieces_ >= 0) return;
    ahead_pieces_ = 0;
    if (issue_.node < args_.chain.count) {
      ahead_ = issue_;
    } else {
      ahead_.Enter(args_, args_.chain.count, args_.chain.count + args_.chain.next_count);
    }
  }

  // Asks for one more piece, if it is time.
  __device__ __forceinline__ void LookAhead() {
    const int end = args_.chain.count + args_.chain.next_count;
    if (ahead_pieces_ >= args_.chain.most_ahead || ahead_.node >= end) return;
    const uint64_t now = __shfl_sync(0xFFFFFFFFu, GlobalTimer(), 0);
    if (now - last_ns_ < static_cast<uint64_t>(args_.chain.pace_ns)) return;
    last_ns_ = now;
    if (lane_ / kPieceRows == ahead_.piece) BulkPrefetch(ahead_.row + ahead_.first, ahead_.bytes());
    ++ahead_pieces_;
    if (++ahead_.piece == kPieces) ahead_.NextChunk(args_, end);
  }

  static constexpr int kWellAhead = 3;  // stages that are not read yet
  const ChainArgs& args_;
  const Barriers& barriers_;
  const uint32_t ring_;
  const int lane_;
  const int stages_;
  const uint64_t policy_;
  StreamCursor<T> issue_;
  StreamCursor<T> ahead_;  // of the L2 cache
  int ahead_pieces_ = 0;   // between the two
  uint64_t last_ns_ = 0;
  RingPlace write_;     // the next stage to be filled
  RingPlace read_;      // the oldest that is not read by all
  int held_ = 0;        // stages between the two
  RingPlace arriving_;  // of the oldest piece on its way
  int arriving_piece_ = 0;
  int on_way_ = 0;
};

}  // namespace tessera::gpu::chain

#endif  // __CUDA_ARCH__ >= 900

#endif  // TESSERA_GPU_KERNELS_LINEAR_CHAIN_PRODUCER_CUH_

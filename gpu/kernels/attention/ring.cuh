// One warp's ring of slots in shared memory, filled from global memory behind its back: bulk copies and a
// barrier a slot on sm_90, 16-byte asynchronous copies before. Slots are filled and read in turn.
#ifndef TESSERA_GPU_KERNELS_ATTENTION_RING_CUH_
#define TESSERA_GPU_KERNELS_ATTENTION_RING_CUH_

#include <cstdint>

#include "gpu/kernels/attention/mma.cuh"

namespace tessera::gpu {

inline constexpr int kMostRingSlots = 8;

// Every call is made by the whole warp.
class WarpRing {
 public:
  // slots: memory of count * slot_bytes, aligned to 128 bytes; barriers: [count].
  __device__ WarpRing(uint8_t* slots, uint64_t* barriers, int count, int slot_bytes)
      : slots_(slots), barriers_(SharedAddress(barriers)), count_(count), slot_bytes_(slot_bytes) {
#if __CUDA_ARCH__ >= 900
    if (Lane() == 0) {
      for (int i = 0; i < count; ++i) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barriers_ + 8 * i) : "memory");
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncwarp();
#endif
  }

  // A slot is free: those filled and not yet released are fewer than count.
  __device__ bool HasRoom() const { return filled_ < count_; }
  __device__ bool IsEmpty() const { return filled_ == 0; }

  // The next slot becomes `bytes` from `first`, and as many from `second` behind them. Multiples of 16.
  __device__ void Fill(const uint8_t* first, const uint8_t* second, int bytes) {
    uint8_t* const slot = slots_ + write_ * slot_bytes_;
#if __CUDA_ARCH__ >= 900
    if (Lane() == 0) {
      const uint32_t barrier = barriers_ + 8 * write_;
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(2 * bytes)
                   : "memory");
      BulkCopy(SharedAddress(slot), first, bytes, barrier);
      BulkCopy(SharedAddress(slot) + bytes, second, bytes, barrier);
    }
#else
    for (int i = Lane() * 16; i < bytes; i += 32 * 16) {
      Copy16(SharedAddress(slot) + i, first + i);
      Copy16(SharedAddress(slot) + bytes + i, second + i);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
    ++filled_;
    write_ = write_ + 1 == count_ ? 0 : write_ + 1;
  }

  // The oldest filled slot, when all its bytes have arrived.
  __device__ uint8_t* Front() {
#if __CUDA_ARCH__ >= 900
    const uint32_t barrier = barriers_ + 8 * read_;
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(barrier),
        "r"(phase_)
        : "memory");
#else
    WaitFor(filled_ - 1);
#endif
    return slots_ + read_ * slot_bytes_;
  }

  // Front's slot has been read by all lanes.
  __device__ void Release() {
    __syncwarp();
    --filled_;
    if (++read_ == count_) {
      read_ = 0;
      phase_ ^= 1;
    }
  }

 private:
  static __device__ int Lane() { return static_cast<int>(threadIdx.x & 31); }

#if __CUDA_ARCH__ >= 900
  static __device__ void BulkCopy(uint32_t to, const uint8_t* from, int bytes, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
        "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
        : "memory");
  }
#else
  static __device__ void Copy16(uint32_t to, const uint8_t* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(__cvta_generic_to_global(from))
                 : "memory");
  }
  // Until all but the last `later` groups of copies have arrived. The count is part of the instruction.
  static __device__ void WaitFor(int later) {
    switch (later) {
      case 0:
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        break;
      case 1:
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        break;
      case 2:
        asm volatile("cp.async.wait_group 2;" ::: "memory");
        break;
      case 3:
        asm volatile("cp.async.wait_group 3;" ::: "memory");
        break;
      case 4:
        asm volatile("cp.async.wait_group 4;" ::: "memory");
        break;
      case 5:
        asm volatile("cp.async.wait_group 5;" ::: "memory");
        break;
      case 6:
        asm volatile("cp.async.wait_group 6;" ::: "memory");
        break;
      default:
        asm volatile("cp.async.wait_group 7;" ::: "memory");
        break;
    }
    __syncwarp();
  }
#endif

  uint8_t* slots_;
  uint32_t barriers_;
  int count_;
  int slot_bytes_;
  int write_ = 0;
  int read_ = 0;
  int filled_ = 0;
  uint32_t phase_ = 0;  // of the barrier at read_
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_ATTENTION_RING_CUH_

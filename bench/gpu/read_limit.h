// What the device and the way to it reach at best, measured without the library: the limits that results
// stand beside. No CUDA in this header. GB/s are 10^9 bytes a second. What fails ends the program.
#ifndef TESSERA_BENCH_GPU_READ_LIMIT_H_
#define TESSERA_BENCH_GPU_READ_LIMIT_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace tessera_bench {

// GB/s of streaming 16-byte loads over 4 GiB of the first device; the best grid's median of 10.
double DeviceReadGBps();

// GB/s of copies from pinned memory to the device, 64 MiB each; median of 10.
double PinnedCopyGBps();

// GB/s of a load without a loader: `threads` of the host let `read` write pieces into pinned memory, which
// the device copies meanwhile. read(offset, to, size) fills bytes [offset, offset + size) of `total_bytes`.
double StagedCopyGBps(uint64_t total_bytes, int threads,
                      const std::function<void(uint64_t offset, void* to, size_t size)>& read);

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_READ_LIMIT_H_

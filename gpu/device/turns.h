// Kernels whose thread blocks wait for one another (kernels/linear/linear.h) hold every multiprocessor until
// all of their blocks are there. Two of them at once, each with some of the multiprocessors, would wait for
// ever: so steps with such kernels take turns on a device, whichever engines of this process they belong to.
// Other kernels end by themselves and may run beside them.
#ifndef TESSERA_GPU_DEVICE_TURNS_H_
#define TESSERA_GPU_DEVICE_TURNS_H_

#include <cuda_runtime_api.h>

#include <mutex>

#include "absl/status/status.h"
#include "gpu/device/device_api.h"

namespace tessera::gpu {

// One a device of the machine.
class DeviceTurns {
 public:
  // By the device's index in CUDA's own order. Never destroyed. May throw std::bad_alloc.
  static DeviceTurns* Of(int device_index);

  // What `enqueue` puts into the stream runs behind what earlier turns put into theirs, and before later
  // ones. `ended`: an event of the caller's, recorded behind it and looked at by others until Leave. On an
  // error nothing of this turn is left in the stream that others would have to wait for: the caller drains
  // it.
  template <typename Enqueue>
  absl::Status Take(DeviceApi* api, cudaStream_t stream, cudaEvent_t ended, const Enqueue& enqueue) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (last_ != nullptr && last_ != ended) {
      absl::Status behind = api->WaitInStream(stream, last_);
      if (!behind.ok()) return behind;
    }
    absl::Status enqueued = enqueue();
    if (!enqueued.ok()) return enqueued;
    absl::Status recorded = api->Record(ended, stream);
    if (recorded.ok()) last_ = ended;
    return recorded;
  }

  // The event is about to be destroyed; its stream is empty.
  void Leave(cudaEvent_t ended) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (last_ == ended) last_ = nullptr;
  }

 private:
  std::mutex mutex_;
  cudaEvent_t last_ = nullptr;  // of the latest turn
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_TURNS_H_

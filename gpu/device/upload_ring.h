// Pinned pieces by which the host's bytes reach the device while the caller prepares the next ones.
#ifndef TESSERA_GPU_DEVICE_UPLOAD_RING_H_
#define TESSERA_GPU_DEVICE_UPLOAD_RING_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device/device_api.h"

namespace tessera::gpu {

class Device;

// Of an upload ring: 16 pieces of 4 MiB, so that as many threads as fill pieces have others on their way, or
// as many as `staging_bytes` holds; at least two pieces, which are smaller where they must be.
struct UploadShape {
  explicit UploadShape(uint64_t staging_bytes);
  size_t piece_bytes = size_t{4} << 20;
  size_t pieces = 16;
};

// Any thread. Its pinned memory is taken when a piece is first asked for, and kept.
class UploadRing {
 public:
  UploadRing(Device* device, UploadShape shape, cudaStream_t stream);
  // Waits for what is on its way. Within a ContextScope.
  ~UploadRing();
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;

  size_t piece_bytes() const { return shape_.piece_bytes; }
  // Waits until a piece is free. It is the caller's until End, whose size may be 0: nothing is copied.
  absl::StatusOr<void*> Begin();
  absl::Status End(void* data, void* target, size_t size_bytes);
  // Everything that was ended has arrived; or the first failure since the last Wait.
  absl::Status Wait();

 private:
  enum class State { kFree, kHeld, kOnItsWay, kAwaited };
  struct Piece {
    uint8_t* data = nullptr;
    cudaEvent_t sent = nullptr;
    State state = State::kFree;
    uint64_t turn = 0;  // among those that are on their way
  };

  absl::Status TakeMemory(std::unique_lock<std::mutex>* lock);
  absl::StatusOr<std::vector<Piece>> MakePieces();
  Piece* Find(State state);
  absl::Status Send(Piece& piece, void* target, size_t size_bytes);
  void Note(const absl::Status& status);

  Device* const device_;
  const UploadShape shape_;
  const cudaStream_t stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Piece> pieces_;  // none until memory was taken; their data is one allocation
  bool taking_memory_ = false;
  uint64_t turns_ = 0;
  absl::Status failure_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_UPLOAD_RING_H_

// The seam for the device: every call of the CUDA runtime or driver that host code of the module makes goes
// through here, so that any of them can be made to fail. Knows no model, step or C table.
//
// Calls that may fail and that somebody answers for return a status and are counted (see InjectFailure).
// Calls that give something back return nothing: nobody could do anything about their failure, so they are
// made always, also when a failure is injected or the device is lost.
#ifndef TESSERA_GPU_DEVICE_DEVICE_API_H_
#define TESSERA_GPU_DEVICE_DEVICE_API_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/status.h"

namespace tessera::gpu {

enum class CopyKind : int32_t { kToDevice, kToHost, kOnDevice };

// Any thread.
class DeviceApi {
 public:
  // `place` begins every message: "cuda device 0".
  explicit DeviceApi(std::string place) : place_(std::move(place)) {}
  DeviceApi(const DeviceApi&) = delete;
  DeviceApi& operator=(const DeviceApi&) = delete;

  // The `after`-th counted call from now on (1: the next) is not made and reports `error`, a cudaError_t;
  // with `sticky`, so does every later one. after 0 takes it back, but a device that was lost stays lost.
  void InjectFailure(int64_t after, int32_t error, bool sticky);

  // An error came from which a CUDA context does not recover: everything on the device is gone.
  bool lost() const { return lost_.load(std::memory_order_acquire); }
  const std::string& place() const { return place_; }

  // For kernels' launchers and for libraries on top of CUDA: `call` returns a cudaError_t.
  template <typename Call>
  absl::Status Do(const char* name, Call&& call) {
    const cudaError_t injected = Gate();
    const cudaError_t error = injected == cudaSuccess ? call() : injected;
    return error == cudaSuccess ? absl::OkStatus() : Fail(name, error);
  }
  // A failure of `name` that was not reported by Do, as a status; marks the device lost where it is.
  absl::Status Fail(const char* name, cudaError_t error);

  // Devices and contexts.
  absl::Status CountDevices(int* count);
  absl::Status Properties(int index, cudaDeviceProp* properties);
  absl::Status MemorySpeed(int index, double* bytes_per_second);
  // Whether kernels of several processes may run on it at once (NVIDIA's multi-process service).
  absl::Status SharedByProcesses(int index, bool* shared);
  absl::Status RetainPrimaryContext(int index, CUcontext* context);
  void ReleasePrimaryContext(int index) noexcept;
  absl::Status ContextOfStream(cudaStream_t stream, CUcontext* context);
  absl::Status DeviceOfCurrentContext(int* index);

  // Memory. A failed allocation says how much was wanted and how much there is.
  absl::Status FreeMemory(size_t* free_bytes, size_t* total_bytes);
  absl::Status Allocate(void** data, size_t size_bytes);
  void Free(void* data) noexcept;
  absl::Status AllocatePinned(void** data, size_t size_bytes);
  void FreePinned(void* data) noexcept;
  // Where the device sees pinned memory of the host's.
  absl::Status DeviceAddress(void* pinned, void** address);
  absl::Status Clear(void* data, size_t size_bytes, cudaStream_t stream);
  absl::Status Copy(void* to, const void* from, size_t size_bytes, CopyKind kind, cudaStream_t stream);

  // Streams and events.
  absl::Status CreateStream(bool low_priority, cudaStream_t* stream);
  // Of the same priority as another.
  absl::Status CreateStreamLike(cudaStream_t other, cudaStream_t* stream);
  void DestroyStream(cudaStream_t stream) noexcept;
  absl::Status Synchronize(cudaStream_t stream);
  // Waits without saying how it ended, but for lost(); for ways out of a failure.
  void Drain(cudaStream_t stream) noexcept;
  // `timed`: for ElapsedMs. Others put a waiting thread to sleep.
  absl::Status CreateEvent(bool timed, cudaEvent_t* event);
  void DestroyEvent(cudaEvent_t event) noexcept;
  absl::Status Record(cudaEvent_t event, cudaStream_t stream);
  // What comes next in the stream waits for the event.
  absl::Status WaitInStream(cudaStream_t stream, cudaEvent_t event);
  absl::Status WaitFor(cudaEvent_t event);
  // `counted` false: a repeated question, which only a sticky failure concerns.
  absl::Status HasHappened(cudaEvent_t event, bool counted, bool* happened);
  absl::Status ElapsedMs(cudaEvent_t first, cudaEvent_t second, float* milliseconds);

  // Graphs. Between BeginCapture and EndCapture the stream only notes what it is given.
  absl::Status BeginCapture(cudaStream_t stream);
  absl::Status EndCapture(cudaStream_t stream, cudaGraph_t* graph);
  void AbandonCapture(cudaStream_t stream) noexcept;
  absl::Status Instantiate(cudaGraph_t graph, cudaGraphExec_t* executable);
  void DestroyGraph(cudaGraph_t graph) noexcept;
  absl::Status Upload(cudaGraphExec_t executable, cudaStream_t stream);
  absl::Status Launch(cudaGraphExec_t executable, cudaStream_t stream);
  void DestroyExecutable(cudaGraphExec_t executable) noexcept;

 private:
  // cudaSuccess: the call may be made.
  cudaError_t Gate(bool counted = true) {
    return armed_.load(std::memory_order_relaxed) ? GateSlowly(counted) : cudaSuccess;
  }
  cudaError_t GateSlowly(bool counted);
  void NoteLoss(cudaError_t error) noexcept;
  absl::Status FailToAllocate(const char* what, size_t size_bytes, cudaError_t error);

  const std::string place_;
  std::atomic<bool> lost_{false};
  std::atomic<int32_t> lost_by_{0};
  std::atomic<bool> armed_{false};
  std::mutex mutex_;  // over what follows
  int64_t until_failure_ = 0;
  bool failing_ = false;  // the failure was reported, and is sticky
  int32_t injected_ = 0;
  bool sticky_ = false;
};

// An entry of the table, for as long as it runs: the device's context is current on this thread, and a stream
// capture that the host has under way elsewhere does not forbid our calls. The host finds its own context
// and mode again. (The last error that CUDA's runtime keeps is the module's own: its runtime is static.)
class ContextScope {
 public:
  ContextScope(DeviceApi* api, CUcontext context);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
  bool entered_ = false;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_DEVICE_API_H_

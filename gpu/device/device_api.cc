#include "gpu/device/device_api.h"

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "gpu/device/cuda_error.h"

namespace tessera::gpu {
namespace {

// A function of the driver that the runtime has no words for. It is found through the runtime, which loads
// the driver when it is first asked, so that the module itself needs no libcuda.
template <typename Function>
class DriverFunction {
 public:
  explicit constexpr DriverFunction(const char* name) : name_(name) {}

  // The driver's error numbers are the runtime's.
  template <typename... Arguments>
  cudaError_t operator()(Arguments... arguments) {
    Function function = function_.load(std::memory_order_acquire);
    if (function == nullptr) {
      void* address = nullptr;
      cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
      const cudaError_t error =
          cudaGetDriverEntryPointByVersion(name_, &address, 12000, cudaEnableDefault, &found);
#else
      const cudaError_t error = cudaGetDriverEntryPoint(name_, &address, cudaEnableDefault, &found);
#endif
      if (error != cudaSuccess) return error;
      if (found != cudaDriverEntryPointSuccess || address == nullptr) return cudaErrorInsufficientDriver;
      function = reinterpret_cast<Function>(address);
      function_.store(function, std::memory_order_release);
    }
    return static_cast<cudaError_t>(function(arguments...));
  }

 private:
  const char* const name_;
  std::atomic<Function> function_{nullptr};
};

constinit DriverFunction<decltype(&::cuCtxPushCurrent)> push_context("cuCtxPushCurrent");
constinit DriverFunction<decltype(&::cuCtxPopCurrent)> pop_context("cuCtxPopCurrent");
constinit DriverFunction<decltype(&::cuCtxGetDevice)> device_of_context("cuCtxGetDevice");
constinit DriverFunction<decltype(&::cuStreamGetCtx)> context_of_stream("cuStreamGetCtx");
constinit DriverFunction<decltype(&::cuDevicePrimaryCtxRetain)> retain_primary("cuDevicePrimaryCtxRetain");
constinit DriverFunction<decltype(&::cuDevicePrimaryCtxRelease)> release_primary("cuDevicePrimaryCtxRelease");

// What a way back meets is nobody's: it must not stand as the last error when the next call is made.
void Forget(cudaError_t error) noexcept {
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
}

cudaMemcpyKind RuntimeKind(CopyKind kind) {
  if (kind == CopyKind::kToDevice) return cudaMemcpyHostToDevice;
  return kind == CopyKind::kToHost ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
}

}  // namespace

void DeviceApi::InjectFailure(int64_t after, int32_t error, bool sticky) {
  const std::lock_guard<std::mutex> lock(mutex_);
  until_failure_ = after;
  failing_ = false;
  injected_ = error;
  sticky_ = sticky;
  armed_.store(after > 0, std::memory_order_relaxed);
}

cudaError_t DeviceApi::GateSlowly(bool counted) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (failing_) return static_cast<cudaError_t>(injected_);
  if (!counted || until_failure_ == 0 || --until_failure_ > 0) return cudaSuccess;
  failing_ = sticky_;
  if (!sticky_) armed_.store(false, std::memory_order_relaxed);
  return static_cast<cudaError_t>(injected_);
}

void DeviceApi::NoteLoss(cudaError_t error) noexcept {
  if (LosesDevice(error) && !lost_.exchange(true, std::memory_order_acq_rel)) {
    lost_by_.store(static_cast<int32_t>(error), std::memory_order_relaxed);
  }
}

absl::Status DeviceApi::Fail(const char* name, cudaError_t error) {
  Forget(error);
  NoteLoss(error);
  // Once it is lost, calls may report something else that only follows from it.
  const bool lost = lost_.load(std::memory_order_acquire);
  const auto first = static_cast<cudaError_t>(lost_by_.load(std::memory_order_relaxed));
  const cudaError_t cause = lost && first != cudaSuccess ? first : error;
  return Error(CodeOfCudaError(cause), place_,
               absl::StrCat(name, ": ", cudaGetErrorString(cause), " (", static_cast<int>(cause), ", ",
                            cudaGetErrorName(cause), ")"));
}

absl::Status DeviceApi::CountDevices(int* count) {
  bool no_driver = false;
  absl::Status counted = Do("counting devices", [&] {
    const cudaError_t error = cudaGetDeviceCount(count);
    no_driver = error == cudaErrorInsufficientDriver;
    if (error != cudaErrorNoDevice) return error;
    Forget(error);
    *count = 0;
    return cudaSuccess;
  });
  if (!no_driver) return counted;
  return Unsupported(place_, absl::StrCat("there is no NVIDIA driver here, or one that is too old for CUDA ",
                                          CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10));
}

absl::Status DeviceApi::SharedByProcesses(int index, bool* shared) {
  int enabled = 0;
  TSR_RETURN_IF_ERROR(
      Do("asking for MPS", [&] { return cudaDeviceGetAttribute(&enabled, cudaDevAttrMpsEnabled, index); }));
  *shared = enabled != 0;
  return absl::OkStatus();
}

absl::Status DeviceApi::MemorySpeed(int index, double* bytes_per_second) {
  int clock_khz = 0;
  int bus_bits = 0;
  TSR_RETURN_IF_ERROR(Do("reading the device's memory clock", [&] {
    const cudaError_t error = cudaDeviceGetAttribute(&clock_khz, cudaDevAttrMemoryClockRate, index);
    return error != cudaSuccess ? error
                                : cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, index);
  }));
  constexpr double kTransfersPerClock = 2;
  *bytes_per_second = kTransfersPerClock * clock_khz * 1e3 * bus_bits / 8;
  return absl::OkStatus();
}

absl::Status DeviceApi::Properties(int index, cudaDeviceProp* properties) {
  return Do("reading the device's properties", [&] { return cudaGetDeviceProperties(properties, index); });
}

absl::Status DeviceApi::RetainPrimaryContext(int index, CUcontext* context) {
  return Do("taking the primary context", [&] { return retain_primary(context, index); });
}

void DeviceApi::ReleasePrimaryContext(int index) noexcept { Forget(release_primary(index)); }

absl::Status DeviceApi::ContextOfStream(cudaStream_t stream, CUcontext* context) {
  return Do("asking a stream for its context", [&] { return context_of_stream(stream, context); });
}

absl::Status DeviceApi::DeviceOfCurrentContext(int* index) {
  return Do("asking a context for its device", [&] { return device_of_context(index); });
}

absl::Status DeviceApi::FreeMemory(size_t* free_bytes, size_t* total_bytes) {
  return Do("asking for free memory", [&] { return cudaMemGetInfo(free_bytes, total_bytes); });
}

absl::Status DeviceApi::FailToAllocate(const char* what, size_t size_bytes, cudaError_t error) {
  if (CodeOfCudaError(error) != ErrorCode::kOutOfMemory) return Fail(what, error);
  Forget(error);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  const cudaError_t asked = cudaMemGetInfo(&free_bytes, &total_bytes);
  Forget(asked);
  return Error(ErrorCode::kOutOfMemory, place_,
               absl::StrCat("could not allocate ", size_bytes, " bytes of ", what,
                            asked == cudaSuccess ? absl::StrCat("; ", free_bytes, " bytes of the device's ",
                                                                total_bytes, " are free")
                                                 : std::string()));
}

absl::Status DeviceApi::Allocate(void** data, size_t size_bytes) {
  cudaError_t error = Gate();
  if (error == cudaSuccess) error = cudaMalloc(data, size_bytes);
  return error == cudaSuccess ? absl::OkStatus() : FailToAllocate("device memory", size_bytes, error);
}

void DeviceApi::Free(void* data) noexcept { Forget(cudaFree(data)); }

absl::Status DeviceApi::AllocatePinned(void** data, size_t size_bytes) {
  cudaError_t error = Gate();
  if (error == cudaSuccess) error = cudaHostAlloc(data, size_bytes, cudaHostAllocPortable);
  return error == cudaSuccess ? absl::OkStatus() : FailToAllocate("pinned memory", size_bytes, error);
}

void DeviceApi::FreePinned(void* data) noexcept { Forget(cudaFreeHost(data)); }

absl::Status DeviceApi::DeviceAddress(void* pinned, void** address) {
  return Do("finding pinned memory on the device",
            [&] { return cudaHostGetDevicePointer(address, pinned, 0); });
}

absl::Status DeviceApi::Clear(void* data, size_t size_bytes, cudaStream_t stream) {
  return Do("clearing memory", [&] { return cudaMemsetAsync(data, 0, size_bytes, stream); });
}

absl::Status DeviceApi::Copy(void* to, const void* from, size_t size_bytes, CopyKind kind,
                             cudaStream_t stream) {
  return Do("copying", [&] { return cudaMemcpyAsync(to, from, size_bytes, RuntimeKind(kind), stream); });
}

absl::Status DeviceApi::CreateStream(bool low_priority, cudaStream_t* stream) {
  return Do("making a stream", [&] {
    int least = 0;
    int greatest = 0;
    const cudaError_t error = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (error != cudaSuccess) return error;
    return cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, low_priority ? least : 0);
  });
}

absl::Status DeviceApi::CreateStreamLike(cudaStream_t other, cudaStream_t* stream) {
  return Do("making a stream", [&] {
    int priority = 0;
    const cudaError_t error = cudaStreamGetPriority(other, &priority);
    return error != cudaSuccess ? error
                                : cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, priority);
  });
}

void DeviceApi::DestroyStream(cudaStream_t stream) noexcept { Forget(cudaStreamDestroy(stream)); }

absl::Status DeviceApi::Synchronize(cudaStream_t stream) {
  return Do("waiting for the device", [&] { return cudaStreamSynchronize(stream); });
}

void DeviceApi::Drain(cudaStream_t stream) noexcept {
  const cudaError_t error = cudaStreamSynchronize(stream);
  Forget(error);
  NoteLoss(error);
}

absl::Status DeviceApi::CreateEvent(bool timed, cudaEvent_t* event) {
  const unsigned flags = timed ? cudaEventDefault : cudaEventDisableTiming | cudaEventBlockingSync;
  return Do("making an event", [&] { return cudaEventCreateWithFlags(event, flags); });
}

void DeviceApi::DestroyEvent(cudaEvent_t event) noexcept { Forget(cudaEventDestroy(event)); }

absl::Status DeviceApi::WaitInStream(cudaStream_t stream, cudaEvent_t event) {
  return Do("waiting in a stream", [&] { return cudaStreamWaitEvent(stream, event, 0); });
}

absl::Status DeviceApi::Record(cudaEvent_t event, cudaStream_t stream) {
  return Do("recording an event", [&] { return cudaEventRecord(event, stream); });
}

absl::Status DeviceApi::WaitFor(cudaEvent_t event) {
  return Do("waiting for an event", [&] { return cudaEventSynchronize(event); });
}

absl::Status DeviceApi::HasHappened(cudaEvent_t event, bool counted, bool* happened) {
  *happened = false;
  cudaError_t error = Gate(counted);
  if (error == cudaSuccess) error = cudaEventQuery(event);
  if (error == cudaErrorNotReady) {
    Forget(error);
    return absl::OkStatus();
  }
  *happened = error == cudaSuccess;
  return error == cudaSuccess ? absl::OkStatus() : Fail("running the step", error);
}

absl::Status DeviceApi::ElapsedMs(cudaEvent_t first, cudaEvent_t second, float* milliseconds) {
  return Do("reading a time", [&] { return cudaEventElapsedTime(milliseconds, first, second); });
}

absl::Status DeviceApi::BeginCapture(cudaStream_t stream) {
  return Do("beginning a graph",
            [&] { return cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed); });
}

absl::Status DeviceApi::EndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return Do("ending a graph", [&] { return cudaStreamEndCapture(stream, graph); });
}

void DeviceApi::AbandonCapture(cudaStream_t stream) noexcept {
  cudaGraph_t graph = nullptr;
  Forget(cudaStreamEndCapture(stream, &graph));
  if (graph != nullptr) DestroyGraph(graph);
}

absl::Status DeviceApi::Instantiate(cudaGraph_t graph, cudaGraphExec_t* executable) {
  return Do("instantiating a graph", [&] { return cudaGraphInstantiate(executable, graph, 0); });
}

void DeviceApi::DestroyGraph(cudaGraph_t graph) noexcept { Forget(cudaGraphDestroy(graph)); }

absl::Status DeviceApi::Upload(cudaGraphExec_t executable, cudaStream_t stream) {
  return Do("uploading a graph", [&] { return cudaGraphUpload(executable, stream); });
}

absl::Status DeviceApi::Launch(cudaGraphExec_t executable, cudaStream_t stream) {
  return Do("launching a graph", [&] { return cudaGraphLaunch(executable, stream); });
}

void DeviceApi::DestroyExecutable(cudaGraphExec_t executable) noexcept {
  Forget(cudaGraphExecDestroy(executable));
}

ContextScope::ContextScope(DeviceApi* api, CUcontext context) {
  cudaError_t error = push_context(context);
  entered_ = error == cudaSuccess;
  if (entered_) error = cudaThreadExchangeStreamCaptureMode(&mode_);
  if (error != cudaSuccess) status_ = api->Fail("entering the device's context", error);
}

ContextScope::~ContextScope() {
  if (!entered_) return;
  Forget(cudaThreadExchangeStreamCaptureMode(&mode_));
  CUcontext ours = nullptr;
  Forget(pop_context(&ours));
}

}  // namespace tessera::gpu

// The CUDA module's one export: the table of core/device/device_module.h over gpu/device and gpu/graph.
// Errors become codes and text here; nothing is thrown across.
#include <cstring>
#include <memory>
#include <new>

#include "absl/status/status.h"
#include "core/base/build_id.h"
#include "core/base/status.h"
#include "core/device/device_module.h"
#include "gpu/device/device.h"
#include "gpu/device/device_query.h"
#include "gpu/graph/step_context.h"

struct tsr_device {
  std::unique_ptr<tessera::gpu::Device> device;
};
struct tsr_device_context {
  std::unique_ptr<tessera::gpu::StepContext> context;
};

namespace tessera::gpu {
namespace {

void Tell(ErrorCode code, bool lost, absl::string_view message, size_t place_bytes,
          tsr_device_failure* failure) {
  if (failure == nullptr) return;
  failure->code = static_cast<int32_t>(code);
  failure->lost = lost ? 1 : 0;
  const size_t bytes = std::min(message.size(), sizeof(failure->message) - 1);
  failure->place_bytes = static_cast<int32_t>(std::min(place_bytes, bytes));
  if (bytes > 0) std::memcpy(failure->message, message.data(), bytes);
  failure->message[bytes] = '\0';
}

int32_t Tell(const absl::Status& status, bool lost, tsr_device_failure* failure) {
  if (status.ok()) return 0;
  Tell(CodeOf(status), lost, status.message(), PlaceOf(status).size(), failure);
  return static_cast<int32_t>(CodeOf(status));
}

// Runs an entry of the table. `call` returns a status.
template <typename Call>
int32_t Enter(tsr_device_failure* failure, Call&& call) noexcept {
  try {
    return Tell(call(), false, failure);
  } catch (const std::bad_alloc&) {
    Tell(ErrorCode::kOutOfMemory, false, "the host has no memory left", 0, failure);
    return static_cast<int32_t>(ErrorCode::kOutOfMemory);
  } catch (...) {
    Tell(ErrorCode::kInternal, false, "an exception of an unknown kind", 0, failure);
    return static_cast<int32_t>(ErrorCode::kInternal);
  }
}

// The same with the device's context current.
template <typename Call>
int32_t EnterDevice(Device* device, tsr_device_failure* failure, Call&& call) noexcept {
  const int32_t code = Enter(failure, [&]() -> absl::Status {
    const ContextScope scope(&device->api(), device->context());
    if (!scope.status().ok()) return scope.status();
    return call();
  });
  if (code != 0 && failure != nullptr) failure->lost = device->api().lost() ? 1 : 0;
  return code;
}

Device* DeviceOf(tsr_device_context* context) { return context->context->device(); }

int32_t Count(int32_t* count, tsr_device_failure* failure) {
  return Enter(failure, [&] { return CountDevices(count); });
}

int32_t DescribeIndex(int32_t index, tsr_device_info* info, tsr_device_failure* failure) {
  return Enter(failure, [&] { return DescribeDevice(index, info); });
}

int32_t Open(const tsr_device_options* options, tsr_device** device, tsr_device_failure* failure) {
  *device = nullptr;
  return Enter(failure, [&]() -> absl::Status {
    auto made = std::make_unique<tsr_device>();
    TSR_ASSIGN_OR_RETURN(made->device, Device::Open(*options));
    *device = made.release();
    return absl::OkStatus();
  });
}

void Close(tsr_device* device) { delete device; }

int32_t Describe(tsr_device* device, tsr_device_info* info, tsr_device_failure* failure) {
  return EnterDevice(device->device.get(), failure, [&] { return device->device->Describe(info); });
}

void* Allocate(tsr_device* device, int32_t memory_class, size_t size_bytes, tsr_device_failure* failure) {
  void* data = nullptr;
  EnterDevice(device->device.get(), failure, [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(data, device->device->Allocate(memory_class, size_bytes));
    return absl::OkStatus();
  });
  return data;
}

void Release(tsr_device* device, int32_t memory_class, void* data, size_t size_bytes) {
  EnterDevice(device->device.get(), nullptr, [&] {
    device->device->Release(memory_class, data, size_bytes);
    return absl::OkStatus();
  });
}

size_t UploadPieceBytes(tsr_device* device) { return device->device->uploads().piece_bytes(); }

int32_t BeginUpload(tsr_device* device, void** piece, tsr_device_failure* failure) {
  *piece = nullptr;
  return EnterDevice(device->device.get(), failure, [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(*piece, device->device->uploads().Begin());
    return absl::OkStatus();
  });
}

int32_t EndUpload(tsr_device* device, void* piece, void* target, size_t size_bytes,
                  tsr_device_failure* failure) {
  return EnterDevice(device->device.get(), failure,
                     [&] { return device->device->uploads().End(piece, target, size_bytes); });
}

int32_t WaitUploads(tsr_device* device, tsr_device_failure* failure) {
  return EnterDevice(device->device.get(), failure, [&] { return device->device->uploads().Wait(); });
}

int32_t Download(tsr_device* device, const void* source, void* target, size_t size_bytes,
                 tsr_device_failure* failure) {
  return EnterDevice(device->device.get(), failure,
                     [&] { return device->device->Download(source, target, size_bytes); });
}

int32_t PlanContext(const tsr_device_model* model, const tsr_device_limits* limits,
                    tsr_device_context_memory* memory, tsr_device_failure* failure) {
  return Enter(failure, [&] { return PlanStepContext(*model, *limits, memory); });
}

int32_t CreateContext(tsr_device* device, const tsr_device_model* model, const tsr_device_limits* limits,
                      tsr_device_context** context, tsr_device_failure* failure) {
  *context = nullptr;
  return EnterDevice(device->device.get(), failure, [&]() -> absl::Status {
    auto made = std::make_unique<tsr_device_context>();
    TSR_ASSIGN_OR_RETURN(made->context, StepContext::Create(device->device.get(), *model, *limits));
    *context = made.release();
    return absl::OkStatus();
  });
}

void DestroyContext(tsr_device_context* context) {
  if (context == nullptr) return;
  // Where the context cannot be entered any more, what was on the device is gone with it.
  EnterDevice(DeviceOf(context), nullptr, [&] {
    context->context.reset();
    return absl::OkStatus();
  });
  delete context;
}

int32_t SetCaches(tsr_device_context* context, const tsr_device_cache* caches, int32_t count,
                  tsr_device_failure* failure) {
  return EnterDevice(DeviceOf(context), failure, [&] { return context->context->SetCaches(caches, count); });
}

int32_t RunStep(tsr_device_context* context, const tsr_device_step* step, tsr_device_failure* failure) {
  return EnterDevice(DeviceOf(context), failure, [&] { return context->context->RunStep(*step); });
}

int32_t FinishStep(tsr_device_context* context, int64_t timeout_ns, int32_t* done,
                   tsr_device_failure* failure) {
  *done = 0;
  return EnterDevice(DeviceOf(context), failure, [&] {
    bool ended = false;
    absl::Status status = context->context->FinishStep(timeout_ns, &ended);
    *done = ended ? 1 : 0;
    return status;
  });
}

void AbandonSteps(tsr_device_context* context) {
  EnterDevice(DeviceOf(context), nullptr, [&] {
    context->context->AbandonSteps();
    return absl::OkStatus();
  });
}

void Times(tsr_device_context* context, tsr_device_times* times) { *times = context->context->times(); }

void InjectFailure(tsr_device* device, int64_t after, int32_t error, int32_t sticky) {
  device->device->api().InjectFailure(after, error, sticky != 0);
}

}  // namespace
}  // namespace tessera::gpu

extern "C" __attribute__((visibility("default"))) const tsr_device_functions* tsr_device_module(void) {
  using namespace tessera::gpu;  // NOLINT: the table below names nothing else
  static const tsr_device_functions functions = {
      sizeof(tsr_device_functions),
      TSR_DEVICE_TABLE_VERSION,
      0,
      tessera::BuildId(),
      "cuda",
      Architectures(),
      Count,
      DescribeIndex,
      Open,
      Close,
      Describe,
      Allocate,
      Release,
      UploadPieceBytes,
      BeginUpload,
      EndUpload,
      WaitUploads,
      Download,
      PlanContext,
      CreateContext,
      DestroyContext,
      SetCaches,
      RunStep,
      FinishStep,
      AbandonSteps,
      Times,
      InjectFailure,
  };
  return &functions;
}

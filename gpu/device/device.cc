#include "gpu/device/device.h"

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/env/memory.h"
#include "gpu/device/device_query.h"

namespace tessera::gpu {
namespace {

// Which device the options mean, where they do not name a context or a stream of it.
absl::StatusOr<int> FindDevice(DeviceApi* api, const tsr_device_options& options) {
  int count = 0;
  TSR_RETURN_IF_ERROR(api->CountDevices(&count));
  const absl::string_view uuid = options.uuid == nullptr ? "" : options.uuid;
  if (uuid.empty()) {
    if (options.index >= 0 && options.index < count) return options.index;
    return NotFound(absl::StrCat("cuda device ", options.index),
                    absl::StrCat("this machine shows ", count, " CUDA devices"));
  }
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties;
    TSR_RETURN_IF_ERROR(api->Properties(index, &properties));
    if (UuidText(properties) == uuid) return index;
  }
  return NotFound(absl::StrCat("cuda device ", uuid),
                  absl::StrCat("none of the ", count, " CUDA devices that this machine shows has that UUID"));
}

// The context that the host's options mean; null: it gave none.
absl::Status FindContext(DeviceApi* api, const tsr_device_options& options, CUcontext* context) {
  *context = static_cast<CUcontext>(options.context);
  if (options.stream == nullptr) return absl::OkStatus();
  CUcontext of_stream = nullptr;
  TSR_RETURN_IF_ERROR(api->ContextOfStream(static_cast<cudaStream_t>(options.stream), &of_stream));
  if (*context != nullptr && *context != of_stream) {
    return InvalidArgument("device options", "the stream is not of the context that was given");
  }
  *context = of_stream;
  return absl::OkStatus();
}

}  // namespace

Device::Device(std::string place, const tsr_device_options& options)
    : api_(std::move(place)),
      device_memory_(options.device_memory),
      pinned_memory_(options.pinned_memory),
      low_priority_(options.low_priority != 0),
      host_stream_(static_cast<cudaStream_t>(options.stream)) {}

absl::StatusOr<std::unique_ptr<Device>> Device::Open(const tsr_device_options& options) {
  for (const tsr_device_allocator* allocator : {&options.device_memory, &options.pinned_memory}) {
    if ((allocator->allocate == nullptr) != (allocator->free == nullptr)) {
      return InvalidArgument("device options", "an allocator needs both of its functions");
    }
  }
  DeviceApi search("cuda");
  CUcontext context = nullptr;
  TSR_RETURN_IF_ERROR(FindContext(&search, options, &context));
  int index = 0;
  if (context == nullptr) {
    TSR_ASSIGN_OR_RETURN(index, FindDevice(&search, options));
  } else {
    const ContextScope scope(&search, context);
    TSR_RETURN_IF_ERROR(scope.status());
    TSR_RETURN_IF_ERROR(search.DeviceOfCurrentContext(&index));
    const absl::string_view uuid = options.uuid == nullptr ? "" : options.uuid;
    cudaDeviceProp properties;
    TSR_RETURN_IF_ERROR(search.Properties(index, &properties));
    if (!uuid.empty() && UuidText(properties) != uuid) {
      return InvalidArgument("device options", absl::StrCat("the context is of device ", UuidText(properties),
                                                            ", not of ", uuid));
    }
  }
  std::unique_ptr<Device> device(new Device(absl::StrCat("cuda device ", index), options));
  device->context_ = context;
  TSR_RETURN_IF_ERROR(device->Enter(options, index));
  return device;
}

absl::Status Device::Enter(const tsr_device_options& options, int index) {
  index_ = index;
  TSR_RETURN_IF_ERROR(api_.Properties(index, &properties_));
  TSR_RETURN_IF_ERROR(api_.MemorySpeed(index, &memory_bytes_per_second_));
  TSR_RETURN_IF_ERROR(api_.SharedByProcesses(index, &shared_by_processes_));
  turns_ = DeviceTurns::Of(index);
  if (!HasCodeFor(properties_)) {
    return Unsupported(api_.place(),
                       absl::StrCat(properties_.name, " has compute capability ", properties_.major, ".",
                                    properties_.minor, "; this build has device code for ", Architectures()));
  }
  if (context_ == nullptr) {
    TSR_RETURN_IF_ERROR(api_.RetainPrimaryContext(index, &context_));
    holds_primary_ = true;
  }
  const ContextScope scope(&api_, context_);
  TSR_RETURN_IF_ERROR(scope.status());
  copy_stream_ = host_stream_;
  if (copy_stream_ == nullptr) TSR_RETURN_IF_ERROR(api_.CreateStream(low_priority_, &copy_stream_));
  uploads_ = std::make_unique<UploadRing>(this, UploadShape(options.staging_bytes), copy_stream_);
  return absl::OkStatus();
}

Device::~Device() {
  if (context_ != nullptr) {
    const ContextScope scope(&api_, context_);
    uploads_.reset();
    if (copy_stream_ != nullptr && copy_stream_ != host_stream_) api_.DestroyStream(copy_stream_);
  }
  if (holds_primary_) api_.ReleasePrimaryContext(index_);
}

absl::Status Device::Describe(tsr_device_info* info) {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  TSR_RETURN_IF_ERROR(api_.FreeMemory(&free_bytes, &total_bytes));
  FillInfo(index_, properties_, total_bytes, free_bytes, info);
  return absl::OkStatus();
}

absl::StatusOr<void*> Device::Allocate(int32_t memory_class, size_t size_bytes) {
  if (size_bytes == 0) return InvalidArgument(api_.place(), "0 bytes cannot be allocated");
  void* data = nullptr;
  if (device_memory_.allocate == nullptr) {
    TSR_RETURN_IF_ERROR(api_.Allocate(&data, size_bytes));
  } else {
    data = device_memory_.allocate(device_memory_.user, memory_class, size_bytes);
    if (data == nullptr) return OutOfMemory("the host's device memory", size_bytes);
  }
  absl::Status status;
  if (reinterpret_cast<uintptr_t>(data) % kDeviceAlignment != 0) {
    status = InvalidArgument("the host's device memory",
                             absl::StrCat("it must be aligned to ", kDeviceAlignment, " bytes"));
  }
  if (status.ok()) status = api_.Clear(data, size_bytes, copy_stream_);
  if (status.ok()) status = api_.Synchronize(copy_stream_);
  if (status.ok()) return data;
  api_.Drain(copy_stream_);
  Release(memory_class, data, size_bytes);
  return status;
}

void Device::Release(int32_t memory_class, void* data, size_t size_bytes) noexcept {
  if (data == nullptr) return;
  if (device_memory_.free == nullptr) {
    api_.Free(data);
  } else {
    device_memory_.free(device_memory_.user, memory_class, data, size_bytes);
  }
}

absl::StatusOr<void*> Device::AllocatePinned(size_t size_bytes) {
  void* data = nullptr;
  if (pinned_memory_.allocate == nullptr) {
    TSR_RETURN_IF_ERROR(api_.AllocatePinned(&data, size_bytes));
    return data;
  }
  data =
      pinned_memory_.allocate(pinned_memory_.user, static_cast<int32_t>(MemoryClass::kScratch), size_bytes);
  if (data == nullptr) return OutOfMemory("the host's pinned memory", size_bytes);
  return data;
}

void Device::ReleasePinned(void* data, size_t size_bytes) noexcept {
  if (data == nullptr) return;
  if (pinned_memory_.free == nullptr) {
    api_.FreePinned(data);
  } else {
    pinned_memory_.free(pinned_memory_.user, static_cast<int32_t>(MemoryClass::kScratch), data, size_bytes);
  }
}

absl::Status Device::Download(const void* source, void* target, size_t size_bytes) {
  absl::Status copied = api_.Copy(target, source, size_bytes, CopyKind::kToHost, copy_stream_);
  if (!copied.ok()) return copied;
  absl::Status arrived = api_.Synchronize(copy_stream_);
  if (!arrived.ok()) api_.Drain(copy_stream_);  // the target is the caller's again
  return arrived;
}

absl::StatusOr<DeviceMemory> DeviceMemory::Create(Device* device, Kind kind, size_t size_bytes) {
  DeviceMemory memory;
  if (size_bytes == 0) return memory;
  void* data = nullptr;
  if (kind == Kind::kDevice) {
    TSR_ASSIGN_OR_RETURN(data, device->Allocate(static_cast<int32_t>(MemoryClass::kScratch), size_bytes));
  } else {
    TSR_ASSIGN_OR_RETURN(data, device->AllocatePinned(size_bytes));
  }
  memory.device_ = device;
  memory.kind_ = kind;
  memory.data_ = static_cast<uint8_t*>(data);
  memory.size_bytes_ = size_bytes;
  return memory;
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  if (this == &other) return *this;
  Release();
  device_ = other.device_;
  kind_ = other.kind_;
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  return *this;
}

void DeviceMemory::Release() noexcept {
  if (data_ == nullptr) return;
  if (kind_ == Kind::kDevice) {
    device_->Release(static_cast<int32_t>(MemoryClass::kScratch), data_, size_bytes_);
  } else {
    device_->ReleasePinned(data_, size_bytes_);
  }
  data_ = nullptr;
}

}  // namespace tessera::gpu

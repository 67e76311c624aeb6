// An open device: its context, its streams, its memory and its uploads. Knows no model and no step.
#ifndef TESSERA_GPU_DEVICE_DEVICE_H_
#define TESSERA_GPU_DEVICE_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/device/device_module.h"
#include "gpu/device/device_api.h"
#include "gpu/device/turns.h"
#include "gpu/device/upload_ring.h"

namespace tessera::gpu {

// Alignment of everything that is allocated on the device.
inline constexpr size_t kDeviceAlignment = 256;

class Device {
 public:
  // kUnsupported where there is no driver, kNotFound where there is no such device. May throw std::bad_alloc.
  static absl::StatusOr<std::unique_ptr<Device>> Open(const tsr_device_options& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  DeviceApi& api() { return api_; }
  CUcontext context() const { return context_; }
  int multiprocessors() const { return properties_.multiProcessorCount; }
  int compute_capability() const { return properties_.major * 10 + properties_.minor; }
  double memory_bytes_per_second() const { return memory_bytes_per_second_; }  // by its clock and bus
  bool shared_by_processes() const { return shared_by_processes_; }
  DeviceTurns* turns() const { return turns_; }
  // The stream for steps: the host's, or null: whoever makes steps makes one, of low priority where that was
  // asked for.
  cudaStream_t host_stream() const { return host_stream_; }
  bool low_priority() const { return low_priority_; }

  // All from here on within a ContextScope.
  absl::Status Describe(tsr_device_info* info);
  // Zeroed. Any thread.
  absl::StatusOr<void*> Allocate(int32_t memory_class, size_t size_bytes);
  void Release(int32_t memory_class, void* data, size_t size_bytes) noexcept;
  absl::StatusOr<void*> AllocatePinned(size_t size_bytes);
  void ReleasePinned(void* data, size_t size_bytes) noexcept;
  absl::Status Download(const void* source, void* target, size_t size_bytes);
  UploadRing& uploads() { return *uploads_; }

 private:
  Device(std::string place, const tsr_device_options& options);
  absl::Status Enter(const tsr_device_options& options, int index);

  DeviceApi api_;
  const tsr_device_allocator device_memory_;
  const tsr_device_allocator pinned_memory_;
  const bool low_priority_;
  int index_ = 0;
  bool holds_primary_ = false;
  CUcontext context_ = nullptr;
  cudaStream_t host_stream_ = nullptr;
  cudaStream_t copy_stream_ = nullptr;  // the host's where it gave one
  cudaDeviceProp properties_ = {};
  double memory_bytes_per_second_ = 0;
  bool shared_by_processes_ = false;
  DeviceTurns* turns_ = nullptr;
  std::unique_ptr<UploadRing> uploads_;
};

// Memory of a device that goes back by itself. Made and destroyed within a ContextScope.
class DeviceMemory {
 public:
  enum class Kind { kDevice, kPinned };
  static absl::StatusOr<DeviceMemory> Create(Device* device, Kind kind, size_t size_bytes);
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory() { Release(); }
  uint8_t* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  void Release() noexcept;
  Device* device_ = nullptr;
  Kind kind_ = Kind::kDevice;
  uint8_t* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_DEVICE_DEVICE_H_

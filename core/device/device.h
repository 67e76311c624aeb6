// An opened device: its memory, and what it says of itself. Any thread.
#ifndef TESSERA_CORE_DEVICE_DEVICE_H_
#define TESSERA_CORE_DEVICE_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/device/device_module.h"
#include "core/env/memory.h"

namespace tessera {

// Which of the devices: by the number or the name that the driver gives it, or the first that is usable.
struct DeviceChoice {
  int32_t index = -1;
  std::string uuid;
};
// "cuda", "cuda:1" or "GPU-..."; nullopt for anything else.
std::optional<DeviceChoice> ParseDeviceChoice(absl::string_view name);

struct DeviceOptions {
  DeviceChoice choice;
  bool low_priority = false;
  void* context = nullptr;  // the host's, which stays its own; null: the device's primary one
  void* stream = nullptr;   // the host's; null: the module's own
  // Where memory comes from that the device, or it and the host, use; null: the module's own way.
  std::shared_ptr<MemorySource> device_memory;
  std::shared_ptr<MemorySource> pinned_memory;
};

struct DeviceInfo {
  int32_t index = 0;
  std::string kind;  // "cuda"
  std::string name;
  std::string uuid;
  uint64_t memory_bytes = 0;
};

class Device {
 public:
  // `functions` stay valid for good. kUnsupported, saying why, where there is no driver, no such device, or
  // none that the module has code for.
  static absl::StatusOr<std::shared_ptr<Device>> Open(const tsr_device_functions* functions,
                                                      const DeviceOptions& options);
  // Whether Open would find such a device; opens none.
  static absl::Status Find(const tsr_device_functions& functions, const DeviceChoice& choice);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const tsr_device_functions& functions() const { return *functions_; }
  tsr_device* handle() const { return handle_; }
  const DeviceInfo& info() const { return info_; }
  // Its name and UUID, for messages.
  std::string Title() const;

  // Zeroed memory of the device, which the host cannot read. Valid as long as the device.
  MemorySource* memory() { return &memory_; }

  // A pinned piece of at most piece_bytes() for the caller to fill. May wait for an earlier one.
  absl::StatusOr<void*> BeginUpload() const;
  // Copies the piece's first size_bytes to `target`, some time; takes the piece, whatever it returns. 0
  // bytes: only takes it.
  absl::Status EndUpload(void* piece, void* target, size_t size_bytes) const;
  absl::Status WaitUploads() const;
  size_t piece_bytes() const { return piece_bytes_; }

 private:
  class Memory final : public MemorySource {
   public:
    explicit Memory(const Device* device) : device_(device) {}
    void* Allocate(MemoryClass memory_class, size_t size_bytes) noexcept override;
    void Free(MemoryClass memory_class, void* data, size_t size_bytes) noexcept override;
    absl::Status Refusal(absl::string_view purpose, size_t size_bytes) const override;

   private:
    const Device* const device_;
  };

  Device(const tsr_device_functions* functions, const DeviceOptions& options)
      : functions_(functions), options_(options), memory_(this) {}

  const tsr_device_functions* const functions_;
  const DeviceOptions options_;  // keeps the host's allocators
  tsr_device* handle_ = nullptr;
  DeviceInfo info_;
  size_t piece_bytes_ = 0;
  Memory memory_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_DEVICE_DEVICE_H_

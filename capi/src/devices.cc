#include "capi/src/devices.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "capi/src/callbacks.h"
#include "core/base/status.h"
#include "core/device/device_module_loader.h"
#include "tessera/tessera.h"

namespace tessera::capi {
namespace {

static_assert(static_cast<int>(MemoryClass::kWeights) == TSR_MEMORY_CLASS_WEIGHTS);
static_assert(static_cast<int>(MemoryClass::kCache) == TSR_MEMORY_CLASS_CACHE);
static_assert(static_cast<int>(MemoryClass::kScratch) == TSR_MEMORY_CLASS_SCRATCH);

// Memory from the host's callbacks.
class HostMemory final : public MemorySource {
 public:
  explicit HostMemory(std::shared_ptr<const CallbackTable> table)
      : table_(std::move(table)), callbacks_(table_->As<tsr_memory_callbacks>()) {}
  void* Allocate(MemoryClass memory_class, size_t size_bytes) noexcept override {
    const CallbackScope scope;
    return callbacks_.allocate(callbacks_.user, static_cast<int32_t>(memory_class), size_bytes);
  }
  void Free(MemoryClass memory_class, void* data, size_t size_bytes) noexcept override {
    const CallbackScope scope;
    callbacks_.free(callbacks_.user, static_cast<int32_t>(memory_class), data, size_bytes);
  }
  absl::Status Check(absl::string_view key) const {
    if (callbacks_.allocate != nullptr && callbacks_.free != nullptr) return absl::OkStatus();
    return InvalidArgument(absl::StrCat("setting '", key, "'"), "allocate or free is NULL");
  }

 private:
  std::shared_ptr<const CallbackTable> table_;
  tsr_memory_callbacks callbacks_;
};

absl::StatusOr<std::shared_ptr<MemorySource>> MemoryOf(const Settings& settings, absl::string_view key) {
  std::shared_ptr<const CallbackTable> table = settings.Callbacks(key);
  if (table == nullptr) return nullptr;
  auto memory = std::make_shared<HostMemory>(std::move(table));
  TSR_RETURN_IF_ERROR(memory->Check(key));
  return memory;
}

struct Wanted {
  bool device = false;  // false: the CPU
  bool automatic = false;
  DeviceChoice choice;
};

Wanted WantedOf(const Settings& settings) {
  const absl::string_view name = settings.String("model.device", "cpu");
  Wanted wanted;
  wanted.automatic = name == "auto";
  const std::optional<DeviceChoice> choice = ParseDeviceChoice(name);
  wanted.device = wanted.automatic || choice.has_value();
  if (choice.has_value()) wanted.choice = *choice;
  return wanted;
}

absl::StatusOr<std::shared_ptr<Device>> Open(const Settings& settings, const DeviceChoice& choice) {
  DeviceOptions options;
  options.choice = choice;
  options.low_priority = settings.Bool("device.low_priority", false);
  options.context = settings.Pointer("device.context");
  options.stream = settings.Pointer("device.stream");
  TSR_ASSIGN_OR_RETURN(options.device_memory, MemoryOf(settings, "device.memory"));
  TSR_ASSIGN_OR_RETURN(options.pinned_memory, MemoryOf(settings, "device.pinned_memory"));
  TSR_ASSIGN_OR_RETURN(const tsr_device_functions* const functions, LoadDeviceModule());
  return Device::Open(functions, options);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Device>> OpenDevice(const Settings& settings, const Logger& log) {
  const Wanted wanted = WantedOf(settings);
  if (!wanted.device) return nullptr;
  absl::StatusOr<std::shared_ptr<Device>> device = Open(settings, wanted.choice);
  if (device.ok()) {
    log.Write(LogLevel::kInfo, absl::StrCat("the model goes to ", (*device)->Title()));
    return device;
  }
  if (!wanted.automatic || CodeOf(device.status()) == ErrorCode::kInvalidArgument) return device;
  log.Write(LogLevel::kInfo,
            absl::StrCat("setting 'model.device' is 'auto', and the model goes to the CPU, since there is "
                         "no other: ",
                         device.status().message()));
  return nullptr;
}

absl::StatusOr<const tsr_device_functions*> FindDeviceModule(const Settings& settings) {
  const Wanted wanted = WantedOf(settings);
  if (!wanted.device) return nullptr;
  absl::StatusOr<const tsr_device_functions*> functions = LoadDeviceModule();
  const absl::Status status = functions.ok() ? Device::Find(**functions, wanted.choice) : functions.status();
  if (status.ok()) return functions;
  if (wanted.automatic) return nullptr;
  return status;
}

}  // namespace tessera::capi

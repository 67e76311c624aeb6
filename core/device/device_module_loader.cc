#include "core/device/device_module_loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "core/base/build_id.h"
#include "core/base/status.h"
#include "core/env/module.h"

namespace tessera {
namespace {

constexpr absl::string_view kModule = "cuda";

absl::StatusOr<const tsr_device_functions*> Load(const std::string& folder) {
  TSR_ASSIGN_OR_RETURN(void* const address, LoadModuleFunction(folder, kModule, TSR_DEVICE_MODULE_FUNCTION));
  const tsr_device_functions* const functions =
      reinterpret_cast<const tsr_device_functions* (*)(void)>(address)();
  // The head of the table is read first: another build's may be shorter.
  if (functions->struct_size != sizeof(*functions) || functions->version != TSR_DEVICE_TABLE_VERSION ||
      std::strcmp(functions->build_id, BuildId()) != 0) {
    return Unsupported(absl::StrCat(folder, "/libtessera_", kModule, ".so"),
                       absl::StrCat("was not built with this library: it is of build ", functions->build_id,
                                    ", the library of ", BuildId()));
  }
  return functions;
}

}  // namespace

absl::StatusOr<const tsr_device_functions*> LoadDeviceModule(absl::string_view folder) {
  static std::atomic<const tsr_device_functions*> loaded{nullptr};
  if (!folder.empty()) return Load(std::string(folder));
  const tsr_device_functions* functions = loaded.load(std::memory_order_acquire);
  if (functions != nullptr) return functions;
  TSR_ASSIGN_OR_RETURN(functions, Load(ModuleFolder()));
  loaded.store(functions, std::memory_order_release);
  return functions;
}

absl::Status StatusOf(const tsr_device_failure& failure) {
  const size_t size = strnlen(failure.message, sizeof(failure.message));
  const auto place_bytes = std::clamp<int32_t>(failure.place_bytes, 0, static_cast<int32_t>(size));
  const int32_t code = failure.code != 0 ? failure.code : static_cast<int32_t>(ErrorCode::kInternal);
  const int32_t raw = code | place_bytes << kCodeBits;
  return absl::Status(static_cast<absl::StatusCode>(raw), absl::string_view(failure.message, size));
}

}  // namespace tessera

#include "core/device/device.h"

#include <charconv>
#include <utility>

#include "absl/strings/match.h"
#include "core/base/status.h"
#include "core/device/device_module_loader.h"

namespace tessera {
namespace {

constexpr absl::string_view kKind = "cuda";

std::string PlaceOfChoice(const DeviceChoice& choice) {
  if (!choice.uuid.empty()) return absl::StrCat("device '", choice.uuid, "'");
  if (choice.index >= 0) return absl::StrCat("device '", kKind, ":", choice.index, "'");
  return absl::StrCat("device '", kKind, "'");
}

std::string NameOf(const tsr_device_info& info) {
  return absl::StrCat(info.name, " (", kKind, ":", info.index, ", ", info.uuid, ")");
}

// The chosen device among those that there are; it is usable.
absl::StatusOr<int32_t> Choose(const tsr_device_functions& functions, const DeviceChoice& choice) {
  tsr_device_failure failure = {};
  int32_t count = 0;
  if (functions.count_devices(&count, &failure) != 0) return StatusOf(failure);
  std::string others;
  for (int32_t index = 0; index < count; ++index) {
    tsr_device_info info = {};
    info.struct_size = sizeof(info);
    if (functions.describe_device(index, &info, &failure) != 0) return StatusOf(failure);
    const bool any = choice.uuid.empty() && choice.index < 0;
    const bool meant = any || (choice.uuid.empty() ? choice.index == index : choice.uuid == info.uuid);
    if (meant && info.usable != 0) return index;
    if (meant && !any) {
      return Unsupported(
          PlaceOfChoice(choice),
          absl::StrCat(NameOf(info), " has compute capability ", info.compute_capability / 10, ".",
                       info.compute_capability % 10, "; the module has code for ", functions.architectures));
    }
    absl::StrAppend(&others, others.empty() ? "" : ", ", NameOf(info));
  }
  if (others.empty()) return Unsupported(PlaceOfChoice(choice), "there is no GPU here");
  return Unsupported(PlaceOfChoice(choice),
                     absl::StrCat("no such device that the module has code for; there are ", others));
}

void* AllocateFrom(void* user, int32_t memory_class, size_t size_bytes) {
  return static_cast<MemorySource*>(user)->Allocate(static_cast<MemoryClass>(memory_class), size_bytes);
}

void FreeTo(void* user, int32_t memory_class, void* data, size_t size_bytes) {
  static_cast<MemorySource*>(user)->Free(static_cast<MemoryClass>(memory_class), data, size_bytes);
}

tsr_device_allocator AllocatorOf(const std::shared_ptr<MemorySource>& source) {
  if (source == nullptr) return {};
  return {AllocateFrom, FreeTo, source.get()};
}

}  // namespace

std::optional<DeviceChoice> ParseDeviceChoice(absl::string_view name) {
  DeviceChoice choice;
  if (name == kKind) return choice;
  if (absl::StartsWith(name, "GPU-") && name.size() > 4) {
    choice.uuid = std::string(name);
    return choice;
  }
  if (!absl::StartsWith(name, "cuda:")) return std::nullopt;
  const absl::string_view digits = name.substr(5);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), choice.index);
  const bool number = error == std::errc() && end == digits.data() + digits.size() && choice.index >= 0;
  return number ? std::optional<DeviceChoice>(choice) : std::nullopt;
}

absl::StatusOr<std::shared_ptr<Device>> Device::Open(const tsr_device_functions* functions,
                                                     const DeviceOptions& options) {
  TSR_ASSIGN_OR_RETURN(const int32_t index, Choose(*functions, options.choice));
  std::shared_ptr<Device> device(new Device(functions, options));
  tsr_device_options wanted = {};
  wanted.struct_size = sizeof(wanted);
  wanted.index = index;
  wanted.low_priority = options.low_priority ? 1 : 0;
  wanted.uuid = "";
  wanted.context = options.context;
  wanted.stream = options.stream;
  wanted.device_memory = AllocatorOf(options.device_memory);
  wanted.pinned_memory = AllocatorOf(options.pinned_memory);
  tsr_device_failure failure = {};
  if (functions->open(&wanted, &device->handle_, &failure) != 0) return StatusOf(failure);
  tsr_device_info info = {};
  info.struct_size = sizeof(info);
  if (functions->describe(device->handle_, &info, &failure) != 0) return StatusOf(failure);
  device->info_ = {info.index, functions->kind, info.name, info.uuid, info.memory_bytes};
  device->piece_bytes_ = functions->upload_piece_bytes(device->handle_);
  return device;
}

absl::Status Device::Find(const tsr_device_functions& functions, const DeviceChoice& choice) {
  return Choose(functions, choice).status();
}

Device::~Device() {
  if (handle_ != nullptr) functions_->close(handle_);
}

std::string Device::Title() const { return absl::StrCat(info_.name, " (", info_.uuid, ")"); }

absl::StatusOr<void*> Device::BeginUpload() const {
  tsr_device_failure failure = {};
  void* piece = nullptr;
  if (functions_->begin_upload(handle_, &piece, &failure) != 0) return StatusOf(failure);
  return piece;
}

absl::Status Device::EndUpload(void* piece, void* target, size_t size_bytes) const {
  tsr_device_failure failure = {};
  const int32_t code = functions_->end_upload(handle_, piece, target, size_bytes, &failure);
  return code == 0 ? absl::OkStatus() : StatusOf(failure);
}

absl::Status Device::WaitUploads() const {
  tsr_device_failure failure = {};
  return functions_->wait_uploads(handle_, &failure) == 0 ? absl::OkStatus() : StatusOf(failure);
}

void* Device::Memory::Allocate(MemoryClass memory_class, size_t size_bytes) noexcept {
  tsr_device_failure failure = {};
  return device_->functions_->allocate(device_->handle_, static_cast<int32_t>(memory_class), size_bytes,
                                       &failure);
}

void Device::Memory::Free(MemoryClass memory_class, void* data, size_t size_bytes) noexcept {
  device_->functions_->release(device_->handle_, static_cast<int32_t>(memory_class), data, size_bytes);
}

absl::Status Device::Memory::Refusal(absl::string_view purpose, size_t size_bytes) const {
  tsr_device_failure failure = {};
  tsr_device_info info = {};
  info.struct_size = sizeof(info);
  if (device_->functions_->describe(device_->handle_, &info, &failure) != 0) return StatusOf(failure);
  return Error(ErrorCode::kOutOfMemory, purpose,
               absl::StrCat("could not allocate ", size_bytes, " bytes of ", device_->Title(), ", where ",
                            info.free_bytes, " of ", info.memory_bytes, " are free"));
}

}  // namespace tessera

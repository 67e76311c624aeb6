#include "gpu/device/device_query.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/status.h"
#include "gpu/device/device_api.h"

namespace tessera::gpu {
namespace {

// As much as there is room for; `out` is all zero before.
void CopyText(absl::string_view text, char* out, size_t size_bytes) {
  const size_t bytes = std::min(text.size(), size_bytes - 1);
  if (bytes > 0) std::memcpy(out, text.data(), bytes);
}

}  // namespace

const char* Architectures() { return TESSERA_CUDA_ARCHITECTURES; }

bool RunsOn(absl::string_view architectures, int major, int minor) {
  for (absl::string_view architecture : absl::StrSplit(architectures, ' ', absl::SkipEmpty())) {
    const bool exact = architecture.back() < '0' || architecture.back() > '9';
    if (exact) architecture.remove_suffix(1);
    int number = 0;
    if (!absl::SimpleAtoi(architecture, &number) || number / 10 != major) continue;
    if (exact ? number % 10 == minor : number % 10 <= minor) return true;
  }
  return false;
}

std::string UuidText(const cudaDeviceProp& properties) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(properties.uuid.bytes[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

void FillInfo(int index, const cudaDeviceProp& properties, size_t total_bytes, size_t free_bytes,
              tsr_device_info* info) {
  const size_t struct_size = info->struct_size;
  *info = {};
  info->struct_size = struct_size;
  info->index = index;
  info->compute_capability = properties.major * 10 + properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->usable = HasCodeFor(properties) ? 1 : 0;
  info->memory_bytes = total_bytes;
  info->free_bytes = free_bytes;
  CopyText(properties.name, info->name, sizeof(info->name));
  CopyText(UuidText(properties), info->uuid, sizeof(info->uuid));
}

absl::Status CountDevices(int32_t* count) {
  DeviceApi api("cuda");
  int found = 0;
  *count = 0;
  TSR_RETURN_IF_ERROR(api.CountDevices(&found));
  *count = found;
  return absl::OkStatus();
}

absl::Status DescribeDevice(int32_t index, tsr_device_info* info) {
  DeviceApi api(absl::StrCat("cuda device ", index));
  int count = 0;
  TSR_RETURN_IF_ERROR(api.CountDevices(&count));
  if (index < 0 || index >= count) {
    return NotFound(api.place(), absl::StrCat("this machine shows ", count, " CUDA devices"));
  }
  cudaDeviceProp properties;
  TSR_RETURN_IF_ERROR(api.Properties(index, &properties));
  CUcontext context = nullptr;
  TSR_RETURN_IF_ERROR(api.RetainPrimaryContext(index, &context));
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  absl::Status status;
  {
    const ContextScope scope(&api, context);
    status = scope.status().ok() ? api.FreeMemory(&free_bytes, &total_bytes) : scope.status();
  }
  api.ReleasePrimaryContext(index);
  if (status.ok()) FillInfo(index, properties, total_bytes, free_bytes, info);
  return status;
}

}  // namespace tessera::gpu

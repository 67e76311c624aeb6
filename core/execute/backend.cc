#include "core/execute/backend.h"

#include <cstring>

#include "core/base/status.h"

namespace tessera {

absl::Status BackendContext::CopyBlocks(const StepView& step) noexcept {
  for (int32_t i = 0; i < step.copy_count; ++i) {
    const BlockCopy& copy = step.copies[i];
    const CacheView& cache = step.caches[copy.group];
    if (cache.block_bytes() == 0) continue;  // a rank without heads, or without layers of the group
    std::memcpy(cache.keys(copy.to, 0), cache.keys(copy.from, 0), cache.block_bytes());
  }
  return absl::OkStatus();
}

absl::StatusOr<WeightView> Backend::Slice(const WeightView& whole, const SliceOf& slice) const {
  if (slice.rows == whole.rows && slice.columns == whole.columns) return whole;
  return Unsupported(absl::StrCat("backend '", name(), "'"), "it runs whole models only");
}

}  // namespace tessera

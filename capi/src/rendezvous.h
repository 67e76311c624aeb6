// The host's all_gather as the engine's AllGather.
#ifndef TESSERA_CAPI_SRC_RENDEZVOUS_H_
#define TESSERA_CAPI_SRC_RENDEZVOUS_H_

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "capi/src/callbacks.h"
#include "core/base/status.h"
#include "core/parallel/rendezvous.h"
#include "tessera/tessera.h"

namespace tessera::capi {

// Keeps the table, whose `drop` is called with the last copy. Empty where there is no table.
inline AllGather MakeAllGather(std::shared_ptr<const CallbackTable> table) {
  if (table == nullptr) return nullptr;
  return [table = std::move(table)](absl::string_view tag, uint64_t epoch, absl::Span<const uint8_t> in,
                                    absl::Span<uint8_t> out, int64_t timeout_ns) -> absl::Status {
    const auto callbacks = table->As<tsr_rendezvous_callbacks>();
    if (callbacks.all_gather == nullptr)
      return InvalidArgument("setting 'engine.rendezvous'", "all_gather is NULL");
    const CallbackScope scope;
    const int32_t result = callbacks.all_gather(callbacks.user, tag.data(), tag.size(), epoch, in.data(),
                                                in.size(), out.data(), timeout_ns);
    if (result == 0) return absl::OkStatus();
    return Error(ErrorCode::kLost, "setting 'engine.rendezvous'",
                 absl::StrCat("the host's all_gather of '", tag, "' failed with ", result));
  };
}

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_RENDEZVOUS_H_

// The module's C face: statuses and exceptions become a code and text; nothing else gets through.
#include "core/parallel/gloo/module.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <utility>

#include "core/base/build_id.h"
#include "core/parallel/gloo/group.h"
#include "core/parallel/gloo/sigpipe_guard.h"

struct tsr_gloo_group {
  explicit tsr_gloo_group(tessera::gloo_ranks::GroupOptions options) : group(std::move(options)) {}
  tessera::gloo_ranks::Group group;
};

namespace tessera::gloo_ranks {
namespace {

int32_t Report(const absl::Status& status, tsr_gloo_failure* failure) noexcept {
  if (status.ok()) return 0;
  const absl::string_view message = status.message();
  const size_t size = std::min(message.size(), sizeof(failure->message) - 1);
  std::memcpy(failure->message, message.data(), size);
  failure->message[size] = '\0';
  failure->place_bytes = static_cast<int32_t>(std::min(PlaceOf(status).size(), size));
  failure->code = static_cast<int32_t>(CodeOf(status));
  return failure->code;
}

absl::Status NoMemory() { return BareError(ErrorCode::kOutOfMemory); }

// An exception leaves the group in the middle of something: it is done, and its peers hear of it.
template <typename Function>
int32_t Call(Group* group, tsr_gloo_failure* failure, Function function) noexcept {
  const SigpipeGuard guard;
  absl::Status status;
  try {
    status = function();
  } catch (const std::bad_alloc&) {
    status = NoMemory();
    if (group != nullptr) status = group->Fail(std::move(status));
  } catch (const std::exception& error) {
    try {
      status = Internal("Gloo", error.what());
    } catch (const std::bad_alloc&) {
      status = NoMemory();
    }
    if (group != nullptr) status = group->Fail(std::move(status));
  } catch (...) {
    status = BareError(ErrorCode::kInternal);
    if (group != nullptr) status = group->Fail(std::move(status));
  }
  return Report(status, failure);
}

CollectiveTag TagOf(const tsr_gloo_tag* tag) { return {tag->epoch, tag->step, tag->operation}; }
absl::Span<const uint8_t> Span(tsr_gloo_bytes bytes) {
  return {static_cast<const uint8_t*>(bytes.data), bytes.size};
}

int32_t Open(const tsr_gloo_options* options, void* addresses, tsr_gloo_group** group,
             tsr_gloo_failure* failure) {
  return Call(nullptr, failure, [&]() -> absl::Status {
    if (options->struct_size != sizeof(*options)) return Internal("Gloo module", "options of another build");
    GroupOptions ours;
    ours.rank = options->rank;
    ours.size = options->size;
    ours.connect_timeout_ns = options->connect_timeout_ns;
    ours.operation_timeout_ns = options->operation_timeout_ns;
    ours.silence_ns = options->silence_ns;
    ours.beat_ns = options->beat_ns;
    ours.epoch = options->epoch;
    ours.name.assign(options->name, options->name_size);
    ours.interface_name.assign(options->interface_name, options->interface_size);
    auto made = std::make_unique<tsr_gloo_group>(std::move(ours));
    TSR_RETURN_IF_ERROR(made->group.Open(static_cast<uint8_t*>(addresses)));
    *group = made.release();
    return absl::OkStatus();
  });
}

int32_t Connect(tsr_gloo_group* group, const void* addresses, tsr_gloo_failure* failure) {
  return Call(&group->group, failure,
              [&] { return group->group.Connect(static_cast<const uint8_t*>(addresses)); });
}

int32_t Exchange(tsr_gloo_group* group, const tsr_gloo_tag* tag, uint32_t signal, tsr_gloo_bytes mine,
                 tsr_gloo_bytes* all, uint32_t* gravest, tsr_gloo_failure* failure) {
  return Call(&group->group, failure, [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(const RankSignal heard,
                         group->group.Exchange(TagOf(tag), static_cast<RankSignal>(signal), Span(mine),
                                               {all, static_cast<size_t>(group->group.size())}));
    *gravest = static_cast<uint32_t>(heard);
    return absl::OkStatus();
  });
}

int32_t Send(tsr_gloo_group* group, const tsr_gloo_tag* tag, int32_t to, tsr_gloo_bytes data,
             tsr_gloo_failure* failure) {
  return Call(&group->group, failure, [&] { return group->group.Send(TagOf(tag), to, Span(data)); });
}

int32_t Receive(tsr_gloo_group* group, const tsr_gloo_tag* tag, int32_t from, void* buffer, size_t capacity,
                size_t* size, tsr_gloo_failure* failure) {
  return Call(&group->group, failure, [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(*size,
                         group->group.Receive(TagOf(tag), from, {static_cast<uint8_t*>(buffer), capacity}));
    return absl::OkStatus();
  });
}

void Abandon(tsr_gloo_group* group) { group->group.Abort(); }

void Close(tsr_gloo_group* group) {
  const SigpipeGuard guard;
  delete group;
}

}  // namespace
}  // namespace tessera::gloo_ranks

extern "C" __attribute__((visibility("default"))) const tsr_gloo_functions* tsr_gloo_module(void) {
  namespace ours = tessera::gloo_ranks;
  static const tsr_gloo_functions functions = {sizeof(tsr_gloo_functions),
                                               TSR_GLOO_TABLE_VERSION,
                                               0,
                                               tessera::BuildId(),
                                               &ours::Open,
                                               &ours::Connect,
                                               &ours::Exchange,
                                               &ours::Send,
                                               &ours::Receive,
                                               &ours::Abandon,
                                               &ours::Close};
  return &functions;
}

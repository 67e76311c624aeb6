// tsr_runtime.
#include <algorithm>
#include <utility>

#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "core/env/threads.h"

namespace tessera::capi {

HostLog::HostLog(std::shared_ptr<const CallbackTable> table)
    : table_(std::move(table)), callbacks_(table_->As<tsr_log_callbacks>()) {}

void HostLog::Write(LogLevel level, absl::string_view message) noexcept {
  if (callbacks_.write != nullptr) {
    const CallbackScope scope;
    callbacks_.write(callbacks_.user, static_cast<int32_t>(level), message.data(), message.size());
  }
}

namespace {

static_assert(static_cast<int>(LogLevel::kDebug) == TSR_LOG_DEBUG);
static_assert(static_cast<int>(LogLevel::kInfo) == TSR_LOG_INFO);
static_assert(static_cast<int>(LogLevel::kWarning) == TSR_LOG_WARNING);
static_assert(static_cast<int>(LogLevel::kError) == TSR_LOG_ERROR);

LogLevel LevelOf(absl::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "error") return LogLevel::kError;
  return LogLevel::kWarning;
}

absl::StatusOr<std::shared_ptr<RuntimeCore>> MakeRuntime(const Settings* settings) {
  const Settings defaults;
  const Settings& s = settings != nullptr ? *settings : defaults;
  auto core = std::make_shared<RuntimeCore>();
  if (auto table = s.Callbacks("runtime.log"); table != nullptr) {
    core->log = Logger(std::make_shared<HostLog>(std::move(table)),
                       LevelOf(s.String("runtime.log_level", "warning")));
  }
  const int64_t threads = s.Int("runtime.threads", 0);
  core->threads = threads != 0 ? static_cast<int32_t>(threads) : GrantedThreads();
  return core;
}

// Engines and queues close without the lock: their last events may call the host back.
template <typename Child>
std::shared_ptr<Child> TakeChild(RuntimeCore& core, std::vector<std::weak_ptr<Child>>& children) {
  std::lock_guard<std::mutex> lock(core.mutex);
  core.closed = true;
  while (!children.empty()) {
    std::shared_ptr<Child> child = children.back().lock();
    children.pop_back();
    if (child != nullptr) return child;
  }
  return nullptr;
}

}  // namespace
}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_runtime_create(const tsr_options* options, tsr_runtime** runtime, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(runtime, "runtime"));
    TSR_ASSIGN_OR_RETURN(const Settings* settings,
                         ScopedSettings(options, {"runtime."}, "tsr_runtime_create"));
    auto handle = std::make_unique<tsr_runtime>();
    TSR_ASSIGN_OR_RETURN(handle->core, MakeRuntime(settings));
    *runtime = handle.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_runtime_close(tsr_runtime* runtime, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(runtime, "runtime"));
    TSR_RETURN_IF_ERROR(CheckOutsideCallback("tsr_runtime_close"));
    const std::shared_ptr<RuntimeCore> core = runtime->core;  // a callback may release the handle
    const std::lock_guard<std::mutex> closing(core->close_mutex);
    while (auto engine = TakeChild(*core, core->engines)) engine->Close();
    while (auto queue = TakeChild(*core, core->queues)) queue->Close();
    return absl::OkStatus();
  });
}

void tsr_runtime_release(tsr_runtime* runtime) {
  if (!Forked()) delete runtime;
}

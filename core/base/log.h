// The log: a sink that the host may replace. No global state; whoever logs is handed a Logger.
#ifndef TESSERA_CORE_BASE_LOG_H_
#define TESSERA_CORE_BASE_LOG_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"

namespace tessera {

enum class LogLevel : int32_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

// Implementations are thread-safe and do not throw.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void Write(LogLevel level, absl::string_view message) noexcept = 0;
};

class Logger {
 public:
  Logger() = default;
  Logger(std::shared_ptr<LogSink> sink, LogLevel least) : sink_(std::move(sink)), least_(least) {}
  bool On(LogLevel level) const { return sink_ != nullptr && level >= least_; }
  void Write(LogLevel level, absl::string_view message) const noexcept {
    if (On(level)) sink_->Write(level, message);
  }

 private:
  std::shared_ptr<LogSink> sink_;  // null: no log
  LogLevel least_ = LogLevel::kWarning;
};

}  // namespace tessera

#endif  // TESSERA_CORE_BASE_LOG_H_

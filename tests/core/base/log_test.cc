// The log passes on what its sink wants and nothing else.
#include "core/base/log.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tessera {
namespace {

class RecordingSink final : public LogSink {
 public:
  void Write(LogLevel level, absl::string_view message) noexcept override {
    lines.emplace_back(level, message);
  }
  std::vector<std::pair<LogLevel, std::string>> lines;
};

TEST(Logger, PassesOnTheLeastLevelAndAbove) {
  const auto sink = std::make_shared<RecordingSink>();
  const Logger logger(sink, LogLevel::kInfo);
  logger.Write(LogLevel::kDebug, "debug");
  logger.Write(LogLevel::kInfo, "info");
  logger.Write(LogLevel::kError, "error");
  ASSERT_EQ(sink->lines.size(), 2u);
  EXPECT_EQ(sink->lines[0], std::make_pair(LogLevel::kInfo, std::string("info")));
  EXPECT_EQ(sink->lines[1].second, "error");
}

TEST(Logger, WithoutASinkIsOff) {
  const Logger logger;
  EXPECT_FALSE(logger.On(LogLevel::kError));
  logger.Write(LogLevel::kError, "goes nowhere");
}

}  // namespace
}  // namespace tessera

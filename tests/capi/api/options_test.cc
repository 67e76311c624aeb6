// Settings: every mistake is an error that names it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/capi/api/host.h"

namespace tessera::host {
namespace {

using ::testing::HasSubstr;

class OptionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tsr_options* options = nullptr;
    ASSERT_EQ(tsr_options_create(&options, nullptr), TSR_STATUS_OK);
    options_.reset(options);
  }
  Outcome SetInt(const std::string& key, int64_t value) {
    return Try(
        [&](tsr_error** e) { return tsr_options_set_int(options_.get(), key.data(), key.size(), value, e); });
  }
  Outcome SetString(const std::string& key, const std::string& value) {
    return Try([&](tsr_error** e) {
      return tsr_options_set_string(options_.get(), key.data(), key.size(), value.data(), value.size(), e);
    });
  }
  Handle<tsr_options> options_;
};

TEST_F(OptionsTest, UnknownKeyIsRefusedWithTheNearestKnownOne) {
  const Outcome outcome = SetInt("engine.thread", 2);
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.place, "setting 'engine.thread'");
  EXPECT_THAT(outcome.message, HasSubstr("did you mean 'engine.threads'"));
}

TEST_F(OptionsTest, ValueOfAnotherTypeIsRefusedByTypeName) {
  const Outcome outcome = SetString("engine.threads", "2");
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_THAT(outcome.message, HasSubstr("type int, not string"));
}

TEST_F(OptionsTest, ValueOutOfRangeIsRefusedWithTheRange) {
  const Outcome outcome = SetInt("request.top_logprobs", 21);
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_THAT(outcome.message, HasSubstr("21 is outside -1 to 20"));
}

TEST_F(OptionsTest, NotANumberIsInNoRange) {
  const std::string key = "sampling.temperature";
  const Outcome outcome = Try([&](tsr_error** e) {
    return tsr_options_set_float(options_.get(), key.data(), key.size(), std::nan(""), e);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
}

TEST_F(OptionsTest, WordOutsideTheChoicesIsRefusedWithTheChoices) {
  const Outcome outcome = SetString("engine.cache_type", "int3");
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_THAT(outcome.message, HasSubstr("f32|f16|bf16"));
}

TEST_F(OptionsTest, TextThatIsNotUtf8IsRefusedWithTheByte) {
  const Outcome outcome = SetString("model.device", "cp\xff");
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_UTF8);
  EXPECT_THAT(outcome.message, HasSubstr("byte at 2"));
}

TEST_F(OptionsTest, NullPointersAreRefusedByName) {
  EXPECT_EQ(Try([&](tsr_error** e) { return tsr_options_create(nullptr, e); }).place, "options");
  EXPECT_EQ(
      Try([&](tsr_error** e) { return tsr_options_set_int(nullptr, "engine.threads", 14, 1, e); }).place,
      "options");
  EXPECT_EQ(Try([&](tsr_error** e) { return tsr_options_set_int(options_.get(), nullptr, 14, 1, e); }).place,
            "key");
  EXPECT_EQ(Try([&](tsr_error** e) {
              return tsr_options_set_string(options_.get(), "model.device", 12, nullptr, 3, e);
            }).place,
            "value");
}

TEST_F(OptionsTest, SettingOfAnotherCallIsRefusedByThatCall) {
  ASSERT_EQ(SetInt("engine.threads", 1).code, TSR_STATUS_OK);
  tsr_runtime* runtime = nullptr;
  const Outcome outcome = Try([&](tsr_error** e) { return tsr_runtime_create(options_.get(), &runtime, e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.place, "setting 'engine.threads'");
  EXPECT_EQ(runtime, nullptr);
}

struct Dropped {
  int count = 0;
  static void Drop(void* user) { ++static_cast<Dropped*>(user)->count; }
};

tsr_log_callbacks LogTo(Dropped* dropped) {
  tsr_log_callbacks table = {};
  table.struct_size = sizeof(table);
  table.user = dropped;
  table.drop = Dropped::Drop;
  return table;
}

TEST_F(OptionsTest, CallbackTableIsDroppedOnceWhenItsLastOwnerGoes) {
  Dropped dropped;
  const tsr_log_callbacks table = LogTo(&dropped);
  ASSERT_EQ(tsr_options_set_callbacks(options_.get(), "runtime.log", 11, &table, nullptr), TSR_STATUS_OK);
  tsr_runtime* runtime = nullptr;
  ASSERT_EQ(tsr_runtime_create(options_.get(), &runtime, nullptr), TSR_STATUS_OK);
  options_.reset();
  EXPECT_EQ(dropped.count, 0) << "the runtime still uses it";
  tsr_runtime_release(runtime);
  EXPECT_EQ(dropped.count, 1);
}

TEST_F(OptionsTest, CallbackTableIsDroppedOnceWhenTheCallFails) {
  Dropped dropped;
  tsr_log_callbacks table = LogTo(&dropped);
  EXPECT_EQ(tsr_options_set_callbacks(options_.get(), "runtime.lag", 11, &table, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(dropped.count, 1);
  EXPECT_EQ(tsr_options_set_callbacks(options_.get(), "engine.threads", 14, &table, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(dropped.count, 2);
  table.struct_size = sizeof(table) - 8;
  EXPECT_EQ(tsr_options_set_callbacks(options_.get(), "runtime.log", 11, &table, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(dropped.count, 3);
}

TEST_F(OptionsTest, ReplacedCallbackTableIsDropped) {
  Dropped first, second;
  const tsr_log_callbacks one = LogTo(&first), two = LogTo(&second);
  ASSERT_EQ(tsr_options_set_callbacks(options_.get(), "runtime.log", 11, &one, nullptr), TSR_STATUS_OK);
  ASSERT_EQ(tsr_options_set_callbacks(options_.get(), "runtime.log", 11, &two, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(first.count, 1);
  EXPECT_EQ(second.count, 0);
}

TEST(Errors, StaticAndMissingErrorsAnswerEveryQuestion) {
  EXPECT_EQ(tsr_error_code(nullptr), TSR_STATUS_OK);
  EXPECT_STREQ(tsr_error_message(nullptr, nullptr), "");
  EXPECT_STREQ(tsr_error_place(nullptr, nullptr), "");
  tsr_error_release(nullptr);
  EXPECT_STREQ(tsr_status_name(TSR_STATUS_BUSY), "TSR_STATUS_BUSY");
  EXPECT_STREQ(tsr_status_name(12345), "unknown status");
  EXPECT_EQ(tsr_version_number(), 1000);
  EXPECT_STREQ(tsr_version_string(), "0.1.0");
}

}  // namespace
}  // namespace tessera::host

// Errors carry their own codes and name their place.
#include "core/base/status.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tessera {
namespace {

TEST(Status, KeepsCodesThatAbseilDoesNotKnow) {
  for (const ErrorCode code : {ErrorCode::kCancelled, ErrorCode::kInvalidArgument, ErrorCode::kBusy,
                               ErrorCode::kCorrupt, ErrorCode::kOutOfMemory, ErrorCode::kForked}) {
    EXPECT_EQ(CodeOf(Error(code, "place", "message")), code);
    EXPECT_EQ(CodeOf(absl::Status(static_cast<absl::StatusCode>(code), "")), code);
  }
  EXPECT_EQ(CodeOf(absl::OkStatus()), ErrorCode::kOk);
}

TEST(Status, PutsThePlaceBeforeTheMessage) {
  EXPECT_EQ(Corrupt("toy.gguf", "byte 12 is wrong").message(), "toy.gguf: byte 12 is wrong");
  EXPECT_EQ(Busy("", "another caller is inside").message(), "another caller is inside");
  EXPECT_EQ(OutOfMemory("the cache", 77).message(), "the cache: could not allocate 77 bytes");
}

TEST(Status, EveryMakerSetsItsCode) {
  const std::vector<std::pair<absl::Status, ErrorCode>> made = {
      {InvalidArgument("p", "m"), ErrorCode::kInvalidArgument},
      {NotFound("p", "m"), ErrorCode::kNotFound},
      {LimitExceeded("p", "m"), ErrorCode::kLimitExceeded},
      {WrongState("p", "m"), ErrorCode::kWrongState},
      {Unsupported("p", "m"), ErrorCode::kUnsupported},
      {Internal("p", "m"), ErrorCode::kInternal},
      {Busy("p", "m"), ErrorCode::kBusy},
      {Corrupt("p", "m"), ErrorCode::kCorrupt},
      {OutOfMemory("p", 1), ErrorCode::kOutOfMemory},
      {IoError("p", "m"), ErrorCode::kIoError},
      {InvalidUtf8("p", "m"), ErrorCode::kInvalidUtf8},
      {Closed("p", "m"), ErrorCode::kClosed},
      {Cancelled("p", "m"), ErrorCode::kCancelled}};
  for (const auto& [status, code] : made) EXPECT_EQ(CodeOf(status), code) << status.message();
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return InvalidArgument("value", absl::StrCat(value, " is odd"));
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  TSR_ASSIGN_OR_RETURN(const int half, Half(value));
  TSR_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

absl::Status CheckQuarter(int value) {
  TSR_RETURN_IF_ERROR(Quarter(value).status());
  return absl::OkStatus();
}

TEST(Status, MacrosPassValuesOnAndErrorsBack) {
  ASSERT_TRUE(Quarter(12).ok());
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "value: 3 is odd");
  EXPECT_TRUE(CheckQuarter(8).ok());
  EXPECT_EQ(CodeOf(CheckQuarter(7)), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera

// One rule of a reader: a file that breaks it, and what the refusal must say.
#ifndef TESSERA_TESTS_CORE_MODEL_BROKEN_FILE_H_
#define TESSERA_TESTS_CORE_MODEL_BROKEN_FILE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "tests/doubles/gguf_writer.h"

namespace tessera {

struct BrokenFile {
  const char* rule;
  ErrorCode code;
  const char* place;  // the byte offset, key or tensor
  const char* says;   // words that no other rule's message has
  std::function<void(GgufWriter&)> breaks;
};

// The message belongs to this rule alone: code, place, words, and none of the other rules' words.
inline void ExpectRefusal(const absl::Status& status, const BrokenFile& broken,
                          const std::vector<BrokenFile>& all) {
  SCOPED_TRACE(broken.rule);
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  EXPECT_EQ(CodeOf(status), broken.code) << message;
  EXPECT_THAT(message, ::testing::HasSubstr("memory: "));  // the file's name
  EXPECT_THAT(message, ::testing::HasSubstr(broken.place));
  EXPECT_THAT(message, ::testing::HasSubstr(broken.says));
  for (const BrokenFile& other : all) {
    if (&other == &broken) continue;
    const bool alike =
        message.find(other.says) != std::string::npos && message.find(other.place) != std::string::npos;
    EXPECT_FALSE(alike) << "the message also fits the rule '" << other.rule << "': " << message;
  }
}

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_MODEL_BROKEN_FILE_H_

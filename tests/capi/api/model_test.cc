// Models: the four ways in, what they say of themselves, text both ways.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

using ::testing::HasSubstr;

class ModelTest : public ::testing::Test {
 protected:
  ModelTest() : bytes_(MakeTinyModel(TinyModelOptions())) {
    tsr_runtime* runtime = nullptr;
    EXPECT_EQ(tsr_runtime_create(nullptr, &runtime, nullptr), TSR_STATUS_OK);
    runtime_.reset(runtime);
    path_ = ::testing::TempDir() + "/tessera_model_test.gguf";
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
  }
  ~ModelTest() override { unlink(path_.c_str()); }

  Outcome LoadFile(const std::string& path, const tsr_options* options = nullptr) {
    tsr_model* model = nullptr;
    const Outcome outcome = Try([&](tsr_error** e) {
      return tsr_model_load_file(runtime_.get(), path.data(), path.size(), options, &model, e);
    });
    model_.reset(model);
    return outcome;
  }

  std::vector<uint8_t> bytes_;
  std::string path_;
  Handle<tsr_runtime> runtime_;
  Handle<tsr_model> model_;
};

int32_t Vocabulary(const tsr_model* model) {
  tsr_model_info info = {};
  info.struct_size = sizeof(info);
  EXPECT_EQ(tsr_model_get_info(model, &info, nullptr), TSR_STATUS_OK);
  return info.vocabulary_size;
}

TEST_F(ModelTest, FileDescriptorMemoryAndReaderGiveTheSameModel) {
  ASSERT_EQ(LoadFile(path_).code, TSR_STATUS_OK);
  const int32_t vocabulary = Vocabulary(model_.get());

  const int descriptor = open(path_.c_str(), O_RDONLY);
  tsr_model* model = nullptr;
  ASSERT_EQ(tsr_model_load_descriptor(runtime_.get(), descriptor, 0, 0, nullptr, &model, nullptr),
            TSR_STATUS_OK);
  close(descriptor);
  model_.reset(model);
  EXPECT_EQ(Vocabulary(model), vocabulary);

  for (const int32_t mode : {TSR_MEMORY_COPY, TSR_MEMORY_BORROW}) {
    ASSERT_EQ(
        tsr_model_load_memory(runtime_.get(), bytes_.data(), bytes_.size(), mode, nullptr, &model, nullptr),
        TSR_STATUS_OK);
    model_.reset(model);
    EXPECT_EQ(Vocabulary(model), vocabulary);
  }
}

struct MemoryReader {
  const std::vector<uint8_t>* bytes;
  int dropped = 0;
  int64_t short_by = 0;
  int64_t fail_with = 0;
  static void Drop(void* user) { ++static_cast<MemoryReader*>(user)->dropped; }
  static int64_t ReadAt(void* user, uint64_t offset, void* buffer, size_t size) {
    const auto* self = static_cast<MemoryReader*>(user);
    if (self->fail_with != 0) return self->fail_with;
    std::memcpy(buffer, self->bytes->data() + offset, size);
    return static_cast<int64_t>(size) - self->short_by;
  }
  tsr_reader Table() {
    tsr_reader reader = {};
    reader.struct_size = sizeof(reader);
    reader.user = this;
    reader.drop = Drop;
    reader.size_bytes = bytes->size();
    reader.read_at = ReadAt;
    return reader;
  }
};

TEST_F(ModelTest, ReaderIsDroppedOnceAfterTheModel) {
  MemoryReader source{&bytes_};
  const tsr_reader reader = source.Table();
  tsr_model* model = nullptr;
  ASSERT_EQ(tsr_model_load_reader(runtime_.get(), &reader, nullptr, &model, nullptr), TSR_STATUS_OK);
  EXPECT_EQ(Vocabulary(model), Vocabulary(model));
  tsr_model_release(model);
  EXPECT_EQ(source.dropped, 1);
}

TEST_F(ModelTest, ShortOrFailedReadIsAnErrorAndTheReaderIsDropped) {
  for (const bool short_read : {true, false}) {
    MemoryReader source{&bytes_};
    if (short_read) source.short_by = 1;
    if (!short_read) source.fail_with = -5;
    const tsr_reader reader = source.Table();
    tsr_model* model = nullptr;
    const Outcome outcome = Try(
        [&](tsr_error** e) { return tsr_model_load_reader(runtime_.get(), &reader, nullptr, &model, e); });
    EXPECT_EQ(outcome.code, TSR_STATUS_IO_ERROR) << outcome.message;
    EXPECT_EQ(model, nullptr);
    EXPECT_EQ(source.dropped, 1);
  }
}

TEST_F(ModelTest, MissingFileAndFolderAndNulAreErrorsThatNameThePath) {
  EXPECT_EQ(LoadFile("/no/such/model.gguf").code, TSR_STATUS_NOT_FOUND);
  EXPECT_THAT(LoadFile("/no/such/model.gguf").message, HasSubstr("/no/such/model.gguf"));
  EXPECT_NE(LoadFile(::testing::TempDir()).code, TSR_STATUS_OK);
  EXPECT_EQ(LoadFile(std::string("a\0b", 3)).place, "path");
  EXPECT_EQ(LoadFile("").place, "path");
}

TEST_F(ModelTest, TruncatedFileIsRefused) {
  ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(bytes_.size() / 2)), 0);
  const Outcome outcome = LoadFile(path_);
  EXPECT_EQ(outcome.code, TSR_STATUS_CORRUPT) << outcome.message;
}

struct Progress {
  int calls = 0;
  uint64_t done = 0, total = 0;
  int32_t answer = 0;
  static int32_t Call(void* user, uint64_t done, uint64_t total) {
    auto* self = static_cast<Progress*>(user);
    ++self->calls;
    self->done = done;
    self->total = total;
    return self->answer;
  }
};

Outcome LoadWithProgress(tsr_runtime* runtime, const std::vector<uint8_t>& bytes, Progress* progress,
                         tsr_model** model) {
  tsr_progress_callbacks table = {};
  table.struct_size = sizeof(table);
  table.user = progress;
  table.progress = Progress::Call;
  tsr_options* raw = nullptr;
  EXPECT_EQ(tsr_options_create(&raw, nullptr), TSR_STATUS_OK);
  const Handle<tsr_options> options(raw);
  EXPECT_EQ(tsr_options_set_callbacks(raw, "model.progress", 14, &table, nullptr), TSR_STATUS_OK);
  return Try([&](tsr_error** e) {
    return tsr_model_load_memory(runtime, bytes.data(), bytes.size(), TSR_MEMORY_COPY, raw, model, e);
  });
}

TEST_F(ModelTest, ProgressReachesItsTotal) {
  Progress progress;
  tsr_model* model = nullptr;
  EXPECT_EQ(LoadWithProgress(runtime_.get(), bytes_, &progress, &model).code, TSR_STATUS_OK);
  tsr_model_release(model);
  EXPECT_GE(progress.calls, 1);
  EXPECT_EQ(progress.done, progress.total);
  EXPECT_GT(progress.total, 0u);
}

TEST_F(ModelTest, ProgressEndsTheLoad) {
  Progress progress;
  progress.answer = 1;
  tsr_model* model = nullptr;
  EXPECT_EQ(LoadWithProgress(runtime_.get(), bytes_, &progress, &model).code, TSR_STATUS_CANCELLED);
  EXPECT_EQ(model, nullptr);
}

TEST_F(ModelTest, MetadataIsReadByKeyKindAndIndex) {
  ASSERT_EQ(LoadFile(path_).code, TSR_STATUS_OK);
  const std::string key = "general.architecture";
  const char* value = nullptr;
  size_t size = 0;
  ASSERT_EQ(tsr_model_metadata_string(model_.get(), key.data(), key.size(), 0, &value, &size, nullptr),
            TSR_STATUS_OK);
  EXPECT_EQ(std::string(value, size), "llama");

  int64_t number = 0;
  EXPECT_EQ(Try([&](tsr_error** e) {
              return tsr_model_metadata_int(model_.get(), key.data(), key.size(), 0, &number, e);
            }).code,
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(Try([&](tsr_error** e) {
              return tsr_model_metadata_string(model_.get(), key.data(), key.size(), 1, &value, &size, e);
            }).code,
            TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(Try([&](tsr_error** e) {
              return tsr_model_metadata_int(model_.get(), "no.such.key", 11, 0, &number, e);
            }).code,
            TSR_STATUS_NOT_FOUND);

  bool found = false;
  for (size_t i = 0; i < tsr_model_metadata_count(model_.get()); ++i) {
    size_t key_size = 0;
    const char* name = tsr_model_metadata_key(model_.get(), i, &key_size);
    int32_t kind = 0;
    size_t count = 0;
    EXPECT_EQ(tsr_model_metadata_kind(model_.get(), name, key_size, &kind, &count, nullptr), TSR_STATUS_OK);
    found |= std::string(name, key_size) == key;
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(tsr_model_metadata_key(model_.get(), 100000, &size), nullptr);
}

TEST_F(ModelTest, OlderHostsSmallerStructureIsFilledAsFarAsItGoes) {
  ASSERT_EQ(LoadFile(path_).code, TSR_STATUS_OK);
  tsr_model_info info;
  std::memset(&info, 0xab, sizeof(info));
  info.struct_size = offsetof(tsr_model_info, weight_bytes);
  ASSERT_EQ(tsr_model_get_info(model_.get(), &info, nullptr), TSR_STATUS_OK);
  EXPECT_GT(info.parameters, 0);
  EXPECT_EQ(info.weight_bytes, 0xababababababababull);
  info.struct_size = 0;
  EXPECT_EQ(tsr_model_get_info(model_.get(), &info, nullptr), TSR_STATUS_INVALID_ARGUMENT);
}

TEST_F(ModelTest, TextComesBackExactlyAndSmallBuffersSayWhatTheyNeed) {
  const Host host(bytes_);
  const std::string text = "Grüße, 世界 🌍 <|im_end|>  \n\t12345";
  const std::vector<int32_t> tokens = host.Tokenize(text);
  EXPECT_EQ(host.Detokenize(tokens), text);
  size_t count = 0;
  int32_t one = 0;
  EXPECT_EQ(tsr_model_tokenize(host.model(), text.data(), text.size(), 0, &one, 1, &count, nullptr),
            TSR_STATUS_BUFFER_TOO_SMALL);
  EXPECT_EQ(count, tokens.size());
}

TEST_F(ModelTest, SpecialTokensAreParsedOnlyWhenAsked) {
  const Host host(bytes_);
  EXPECT_EQ(host.Tokenize("<|im_end|>", TSR_TEXT_PARSE_SPECIAL).size(), 1u);
  EXPECT_GT(host.Tokenize("<|im_end|>").size(), 1u);
  EXPECT_EQ(host.Detokenize(host.Tokenize("<|im_end|>", TSR_TEXT_PARSE_SPECIAL), TSR_TEXT_PLAIN), "");
}

TEST_F(ModelTest, BadTextTokensAndFlagsAreRefusedWithTheirPlace) {
  const Host host(bytes_);
  size_t count = 0;
  Outcome outcome = Try([&](tsr_error** e) {
    return tsr_model_tokenize(host.model(), "ab\xc3(", 4, 0, nullptr, 0, &count, e);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_UTF8);
  EXPECT_THAT(outcome.message, HasSubstr("2"));
  const int32_t bad = 1 << 30;
  outcome = Try(
      [&](tsr_error** e) { return tsr_model_detokenize(host.model(), &bad, 1, 0, nullptr, 0, &count, e); });
  EXPECT_EQ(outcome.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(outcome.place, "tokens[0]");
  EXPECT_EQ(tsr_model_tokenize(host.model(), "a", 1, 64, nullptr, 0, &count, nullptr),
            TSR_STATUS_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace tessera::host

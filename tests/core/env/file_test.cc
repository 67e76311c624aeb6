// Files by path, by descriptor and in memory: what is read, and how what cannot be read is refused.
#include "core/env/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <numeric>
#include <string>
#include <vector>

#include "core/base/status.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/file_test_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    content_.resize(10000);
    std::iota(content_.begin(), content_.end(), uint8_t{1});
    path_ = folder_ + "/content";
    const int out = open(path_.c_str(), O_CREAT | O_WRONLY, 0600);
    ASSERT_EQ(write(out, content_.data(), content_.size()), static_cast<ssize_t>(content_.size()));
    close(out);
  }
  void TearDown() override {
    unlink(path_.c_str());
    unlink((folder_ + "/fifo").c_str());
    rmdir(folder_.c_str());
  }
  std::vector<uint8_t> Part(size_t from, size_t count) const {
    return {content_.begin() + static_cast<ptrdiff_t>(from),
            content_.begin() + static_cast<ptrdiff_t>(from + count)};
  }

  std::string folder_, path_;
  std::vector<uint8_t> content_;
};

std::vector<uint8_t> ReadPart(const RandomAccessFile& file, uint64_t offset, size_t count) {
  std::vector<uint8_t> out(count, 0xee);
  const absl::Status status = file.ReadAt(offset, out.data(), count);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

TEST_F(FileTest, PathGivesItsSizeNameAndBytes) {
  auto file = OpenFile(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size_bytes(), content_.size());
  EXPECT_EQ((*file)->name(), path_);
  EXPECT_EQ(ReadPart(**file, 0, content_.size()), content_);
  EXPECT_EQ(ReadPart(**file, 9990, 10), Part(9990, 10));
  EXPECT_EQ(ReadPart(**file, 10000, 0), std::vector<uint8_t>());
  EXPECT_EQ((*file)->Borrow(0, 1), nullptr);
}

TEST_F(FileTest, MissingPathIsNotFoundAndNamesIt) {
  const auto missing = OpenFile(path_ + ".none");
  EXPECT_EQ(CodeOf(missing.status()), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("content.none"));
  EXPECT_EQ(CodeOf(OpenFile(path_ + "/below").status()), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(OpenFile("").status()), ErrorCode::kNotFound);
}

TEST_F(FileTest, PathWithAZeroByteIsRefused) {
  const auto file = OpenFile(absl::string_view("a\0b", 3));
  EXPECT_EQ(CodeOf(file.status()), ErrorCode::kInvalidArgument);
}

TEST_F(FileTest, FoldersAndFifosAreRefusedWithoutWaiting) {
  ASSERT_EQ(mkfifo((folder_ + "/fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder_, folder_ + "/fifo"}) {
    const auto file = OpenFile(path);
    EXPECT_EQ(CodeOf(file.status()), ErrorCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("not a regular file"));
  }
}

TEST_F(FileTest, RangesOutsideTheFileAreRefused) {
  auto file = OpenFile(path_);
  ASSERT_TRUE(file.ok());
  const auto memory = BorrowMemory(content_.data(), content_.size());
  uint8_t byte = 0;
  for (const RandomAccessFile* each : {file->get(), memory.get()}) {
    EXPECT_EQ(CodeOf(each->ReadAt(10000, &byte, 1)), ErrorCode::kInvalidArgument);
    EXPECT_EQ(CodeOf(each->ReadAt(10001, &byte, 0)), ErrorCode::kInvalidArgument);
    EXPECT_EQ(CodeOf(each->ReadAt(UINT64_MAX, &byte, 1)), ErrorCode::kInvalidArgument);
    EXPECT_EQ(CodeOf(each->ReadAt(1, &byte, SIZE_MAX)), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(byte, 0);
}

TEST_F(FileTest, FileThatShrinksUnderTheReaderIsAnIoErrorThatNamesTheByte) {
  auto file = OpenFile(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(truncate(path_.c_str(), 5000), 0);
  std::vector<uint8_t> out(1000);
  const absl::Status status = (*file)->ReadAt(4500, out.data(), out.size());
  EXPECT_EQ(CodeOf(status), ErrorCode::kIoError);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 5000"));
}

TEST_F(FileTest, DescriptorIsDuplicatedAndItsPartIsAFileOfItsOwn) {
  const int descriptor = open(path_.c_str(), O_RDONLY);
  auto part = OpenDescriptor(descriptor, 100, 50);
  auto rest = OpenDescriptor(descriptor, 100, 0);
  close(descriptor);
  ASSERT_TRUE(part.ok()) << part.status();
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_EQ((*part)->size_bytes(), 50u);
  EXPECT_EQ((*rest)->size_bytes(), 9900u);
  EXPECT_EQ(ReadPart(**part, 10, 40), Part(110, 40));
  EXPECT_EQ(ReadPart(**rest, 0, 9900), Part(100, 9900));
  uint8_t byte = 0;
  EXPECT_EQ(CodeOf((*part)->ReadAt(50, &byte, 1)), ErrorCode::kInvalidArgument);
}

TEST_F(FileTest, DescriptorsThatCannotServeAreRefused) {
  const int descriptor = open(path_.c_str(), O_RDONLY);
  EXPECT_EQ(CodeOf(OpenDescriptor(descriptor, 10001, 0).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(OpenDescriptor(descriptor, 1, 10000).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(OpenDescriptor(descriptor, 1, UINT64_MAX).status()), ErrorCode::kInvalidArgument);
  close(descriptor);
  EXPECT_EQ(CodeOf(OpenDescriptor(-1, 0, 0).status()), ErrorCode::kInvalidArgument);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(CodeOf(OpenDescriptor(ends[0], 0, 0).status()), ErrorCode::kInvalidArgument);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(FileTest, UnreadableDescriptorIsAnIoErrorAtTheRead) {
  const int write_only = open(path_.c_str(), O_WRONLY);
  auto file = OpenDescriptor(write_only, 0, 0);
  close(write_only);
  ASSERT_TRUE(file.ok());
  uint8_t byte = 0;
  EXPECT_EQ(CodeOf((*file)->ReadAt(0, &byte, 1)), ErrorCode::kIoError);
}

TEST_F(FileTest, DescriptorsAreClosedWithTheirFilesAndAlsoWhenOpeningFails) {
  const int before = dup(0);
  close(before);
  for (int i = 0; i < 3; ++i) {
    auto file = OpenFile(path_);
    ASSERT_TRUE(file.ok());
    ASSERT_FALSE(OpenFile(folder_).ok());
  }
  const int after = dup(0);
  close(after);
  EXPECT_EQ(after, before);
}

TEST_F(FileTest, MemoryIsLentWithoutACopyAndOnlyInside) {
  const auto file = BorrowMemory(content_.data(), content_.size());
  EXPECT_EQ(file->name(), "memory");
  EXPECT_EQ(ReadPart(*file, 17, 30), Part(17, 30));
  EXPECT_EQ(file->Borrow(17, 30), content_.data() + 17);
  EXPECT_EQ(file->Borrow(10000, 0), content_.data() + 10000);
  EXPECT_EQ(file->Borrow(10000, 1), nullptr);
  EXPECT_EQ(file->Borrow(10001, 0), nullptr);
  EXPECT_EQ(file->Borrow(1, SIZE_MAX), nullptr);
}

TEST_F(FileTest, EmptyFileAndEmptyMemoryAreFiles) {
  ASSERT_EQ(truncate(path_.c_str(), 0), 0);
  auto file = OpenFile(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size_bytes(), 0u);
  EXPECT_TRUE((*file)->ReadAt(0, nullptr, 0).ok());
  EXPECT_TRUE(BorrowMemory(nullptr, 0)->ReadAt(0, nullptr, 0).ok());
}

}  // namespace
}  // namespace tessera

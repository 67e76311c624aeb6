// What a valid GGUF file gives: values of every type, tensors where they lie.
#include "core/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "tests/doubles/gguf_writer.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<GgufFile> Read(const GgufWriter& writer) {
  auto file = GgufFile::Read(FileOf(writer.Build()));
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

TEST(Gguf, ScalarsOfEveryTypeAreWidenedWithTheirSign) {
  GgufWriter writer;
  writer.Scalar("u8", GgufType::kUint8, uint8_t{200}).Scalar("i8", GgufType::kInt8, int8_t{-100});
  writer.Scalar("u16", GgufType::kUint16, uint16_t{60000}).Scalar("i16", GgufType::kInt16, int16_t{-30000});
  writer.Uint32("u32", 4000000000u).Int32("i32", -2000000000);
  writer.Uint64("u64", uint64_t{INT64_MAX}).Scalar("i64", GgufType::kInt64, INT64_MIN);
  writer.Float32("f32", 0.5f).Scalar("f64", GgufType::kFloat64, 0.1);
  writer.Bool("yes", true).Bool("no", false).String("text", "a b").String("none", "");
  const auto file = Read(writer);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(*file->GetInt("u8"), 200);
  EXPECT_EQ(*file->GetInt("i8"), -100);
  EXPECT_EQ(*file->GetInt("u16"), 60000);
  EXPECT_EQ(*file->GetInt("i16"), -30000);
  EXPECT_EQ(*file->GetInt("u32"), 4000000000);
  EXPECT_EQ(*file->GetInt("i32"), -2000000000);
  EXPECT_EQ(*file->GetInt("u64"), INT64_MAX);
  EXPECT_EQ(*file->GetInt("i64"), INT64_MIN);
  EXPECT_EQ(*file->GetFloat("f32"), 0.5);
  EXPECT_EQ(*file->GetFloat("f64"), 0.1);
  EXPECT_EQ(*file->GetFloat("i8"), -100.0);
  EXPECT_TRUE(*file->GetBool("yes"));
  EXPECT_FALSE(*file->GetBool("no"));
  EXPECT_EQ(*file->GetString("text"), "a b");
  EXPECT_EQ(*file->GetString("none"), "");
}

TEST(Gguf, ArraysKeepTheirOrderAndEmptyOnesHaveNoElement) {
  GgufWriter writer;
  writer.Strings("words", {"", "one", std::string("t\0w", 3), ""});
  writer.Array("i16", GgufType::kInt16, std::vector<int16_t>{-1, 2, -3});
  writer.Array("f32", GgufType::kFloat32, std::vector<float>{0.25f, -8});
  writer.Array("bools", GgufType::kBool, std::vector<uint8_t>{1, 0});
  writer.Strings("no words", {}).Array("nothing", GgufType::kUint64, std::vector<uint64_t>{});
  const auto file = Read(writer);
  ASSERT_NE(file, nullptr);
  const GgufValue* words = file->Find("words");
  ASSERT_NE(words, nullptr);
  EXPECT_TRUE(words->is_array);
  EXPECT_EQ(words->type, GgufType::kString);
  EXPECT_THAT(std::vector<absl::string_view>(words->strings.begin(), words->strings.end()),
              ElementsAre("", "one", absl::string_view("t\0w", 3), ""));
  const GgufValue* numbers = file->Find("i16");
  EXPECT_THAT(std::vector<int64_t>(numbers->integers.begin(), numbers->integers.end()),
              ElementsAre(-1, 2, -3));
  const GgufValue* floats = file->Find("f32");
  EXPECT_THAT(std::vector<double>(floats->floats.begin(), floats->floats.end()), ElementsAre(0.25, -8));
  EXPECT_EQ(file->Find("bools")->integers[0], 1);
  EXPECT_EQ(file->Find("bools")->count(), 2u);
  EXPECT_EQ(file->Find("no words")->count(), 0u);
  EXPECT_EQ(file->Find("nothing")->count(), 0u);
  EXPECT_TRUE(file->Find("nothing")->integers.empty());
}

TEST(Gguf, StringsOfLengthsAroundTheReadersBufferArriveWhole) {
  std::vector<std::string> texts;
  for (const size_t length : {262140u, 3u, 262144u, 1u, 600000u, 0u, 262143u}) {
    texts.emplace_back(length, static_cast<char>('a' + texts.size()));
  }
  GgufWriter writer;
  writer.Strings("texts", texts).Uint32("after", 7);
  const auto file = Read(writer);
  ASSERT_NE(file, nullptr);
  const GgufStrings& read = file->Find("texts")->strings;
  ASSERT_EQ(read.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_TRUE(read[i] == texts[i]) << i;
  EXPECT_EQ(*file->GetInt("after"), 7);
}

TEST(Gguf, GettersTellAMissingKeyFromOneOfAnotherKind) {
  GgufWriter writer;
  writer.Uint32("n", 1).Float32("x", 1).Bool("b", true).String("s", "t").Strings("list", {"t"});
  const auto file = Read(writer);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(CodeOf(file->GetInt("none").status()), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(file->GetInt("none").status().message()), HasSubstr("key 'none' is missing"));
  EXPECT_EQ(CodeOf(file->GetInt("x").status()), ErrorCode::kCorrupt);
  EXPECT_THAT(std::string(file->GetInt("x").status().message()),
              HasSubstr("key 'x' is of type float32; an integer is needed"));
  EXPECT_EQ(CodeOf(file->GetInt("b").status()), ErrorCode::kCorrupt);
  EXPECT_EQ(CodeOf(file->GetFloat("b").status()), ErrorCode::kCorrupt);
  EXPECT_EQ(CodeOf(file->GetFloat("s").status()), ErrorCode::kCorrupt);
  EXPECT_EQ(CodeOf(file->GetBool("n").status()), ErrorCode::kCorrupt);
  EXPECT_EQ(CodeOf(file->GetString("n").status()), ErrorCode::kCorrupt);
  EXPECT_THAT(std::string(file->GetString("list").status().message()), HasSubstr("an array of string"));
}

TEST(Gguf, TensorsLieWhereTheirBytesAre) {
  for (const uint32_t version : {2u, 3u}) {
    for (const uint32_t alignment : {1u, 8u, 32u, 4096u}) {
      GgufWriter writer;
      writer.version = version;
      writer.Alignment(alignment);
      writer.Tensor("first", TensorType::kF16, {5, 3}, std::vector<uint8_t>(30, 0x11));
      writer.Tensor("second", TensorType::kQ8_0, {64, 2, 1, 1}, std::vector<uint8_t>(136, 0x22));
      writer.Tensor("third", TensorType::kF32, {2, 3, 4, 5}, std::vector<uint8_t>(480, 0x33));
      const auto file = Read(writer);
      ASSERT_NE(file, nullptr);
      EXPECT_EQ(file->version(), version);
      EXPECT_EQ(file->FindTensor("fourth"), nullptr);
      uint8_t fill = 0x11;
      for (const char* name : {"first", "second", "third"}) {
        const GgufTensor* tensor = file->FindTensor(name);
        ASSERT_NE(tensor, nullptr);
        EXPECT_EQ(tensor->file_offset % alignment, 0u);
        std::vector<uint8_t> bytes(tensor->size_bytes);
        ASSERT_TRUE(file->file().ReadAt(tensor->file_offset, bytes.data(), bytes.size()).ok());
        EXPECT_EQ(bytes, std::vector<uint8_t>(bytes.size(), fill)) << name;
        fill = static_cast<uint8_t>(fill + 0x11);
      }
      EXPECT_EQ(file->FindTensor("second")->dimensions, 4u);
      EXPECT_EQ(file->FindTensor("second")->rows(), 2u);
      EXPECT_EQ(file->FindTensor("third")->columns(), 2u);
      EXPECT_EQ(file->FindTensor("third")->rows(), 60u);
      EXPECT_EQ(file->FindTensor("third")->size_bytes, 480u);
    }
  }
}

TEST(Gguf, LookupsFindEveryKeyAndTensorWhateverTheirOrder) {
  GgufWriter writer;
  for (int i = 0; i < 100; ++i) {
    const std::string name = absl::StrCat("n", i * 37 % 100);
    writer.Uint32(name, static_cast<uint32_t>(i));
    writer.Tensor(name, TensorType::kF32, {1}, std::vector<uint8_t>(4));
  }
  const auto file = Read(writer);
  ASSERT_NE(file, nullptr);
  for (int i = 0; i < 100; ++i) {
    const std::string name = absl::StrCat("n", i * 37 % 100);
    EXPECT_EQ(*file->GetInt(name), i);
    EXPECT_EQ(file->FindTensor(name), &file->tensors()[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(file->Find("n"), nullptr);
  EXPECT_EQ(file->Find("n99x"), nullptr);
  EXPECT_EQ(file->metadata()[3].first, "n11");
}

TEST(Gguf, FileOfNothingIsValid) {
  const auto file = Read(GgufWriter());
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(file->metadata().empty());
  EXPECT_TRUE(file->tensors().empty());
}

}  // namespace
}  // namespace tessera

// Every rule that a GGUF file must keep, each broken once.
#include <vector>

#include "core/model/gguf.h"
#include "tests/core/model/broken_file.h"
#include "tests/doubles/fake_file.h"
#include "tests/doubles/gguf_writer.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

constexpr uint32_t kString = static_cast<uint32_t>(GgufType::kString);
constexpr uint32_t kArray = static_cast<uint32_t>(GgufType::kArray);
constexpr uint32_t kUint32 = static_cast<uint32_t>(GgufType::kUint32);
constexpr uint32_t kQ5K = 13;

// A valid file: three keys, two tensors. Byte 24 is the first key's length.
GgufWriter Valid() {
  GgufWriter writer;
  writer.String("general.architecture", "llama").Uint32("n", 7);
  writer.Strings("words", {"one", "two"});
  writer.Tensor("a", TensorType::kF32, {8, 2}, std::vector<uint8_t>(64));
  writer.Tensor("b", TensorType::kQ8_0, {32}, std::vector<uint8_t>(34));
  return writer;
}

std::vector<uint8_t> ArrayHead(uint32_t type, uint64_t count) {
  return ByteBuilder().Number(type).Number(count).Take();
}

const std::vector<BrokenFile>& Rules() {
  static const auto* rules = new std::vector<BrokenFile>{
      {"magic", ErrorCode::kCorrupt, "byte 0", "not a GGUF file",
       [](GgufWriter& w) { w.magic = 0x46554748; }},
      {"version 1", ErrorCode::kUnsupported, "byte 4", "GGUF version 1;",
       [](GgufWriter& w) { w.version = 1; }},
      {"version 4", ErrorCode::kUnsupported, "byte 4", "GGUF version 4;",
       [](GgufWriter& w) { w.version = 4; }},
      {"byte order", ErrorCode::kUnsupported, "byte 4", "big-endian",
       [](GgufWriter& w) { w.version = 0x03000000; }},
      {"tensor count, limit", ErrorCode::kCorrupt, "byte 8", "65537 tensors; at most 65536",
       [](GgufWriter& w) { w.tensor_count = 65537; }},
      {"key count, limit", ErrorCode::kCorrupt, "byte 16", "metadata keys; at most",
       [](GgufWriter& w) { w.metadata_count = UINT64_MAX; }},
      {"tensor count, file", ErrorCode::kCorrupt, "byte 8", "60000 tensors cannot fit",
       [](GgufWriter& w) { w.tensor_count = 60000; }},
      {"key count, file", ErrorCode::kCorrupt, "byte 16", "60000 metadata keys cannot fit",
       [](GgufWriter& w) { w.metadata_count = 60000; }},
      {"key, empty", ErrorCode::kCorrupt, "byte 24", "metadata key 0 is empty",
       [](GgufWriter& w) { w.values[0].key.clear(); }},
      {"key, length", ErrorCode::kCorrupt, "byte 24", "65536 bytes; the format allows 65535",
       [](GgufWriter& w) { w.values[0].key = std::string(65536, 'k'); }},
      {"key, file", ErrorCode::kCorrupt, "metadata key 2 has 5000 bytes", "are left in the file",
       [](GgufWriter& w) {  // behind the second value stands a length where the third key was
         w.values[1] = {"n", kUint32, ByteBuilder().Number(uint32_t{7}).Number(uint64_t{5000}).Take()};
       }},
      {"value type", ErrorCode::kUnsupported, "key 'n'", "unknown value type 13",
       [](GgufWriter& w) { w.values[1].type = 13; }},
      {"array of arrays", ErrorCode::kUnsupported, "key 'n'", "array of arrays",
       [](GgufWriter& w) {
         w.values[1] = {"n", kArray, ArrayHead(kArray, 1)};
       }},
      {"array, file", ErrorCode::kCorrupt, "key 'n'", "has 1000 elements of type uint32, more than",
       [](GgufWriter& w) {
         w.values[1] = {"n", kArray, ArrayHead(kUint32, 1000)};
       }},
      {"array, overflow", ErrorCode::kCorrupt, "key 'n'", "has 4611686018427387904 elements",
       [](GgufWriter& w) {
         w.values[1] = {"n", kArray, ArrayHead(kUint32, uint64_t{1} << 62)};
       }},
      {"bool", ErrorCode::kCorrupt, "key 'n'", "a bool with the value 2",
       [](GgufWriter& w) {
         w.values[1] = {"n", static_cast<uint32_t>(GgufType::kBool), {2}};
       }},
      {"integer", ErrorCode::kUnsupported, "key 'n'", "9223372036854775808; integers of 2^63",
       [](GgufWriter& w) { w.Remove("n").Uint64("n", uint64_t{1} << 63); }},
      {"strings, count", ErrorCode::kCorrupt, "key 'n'", "strings, more than the",
       [](GgufWriter& w) {
         w.values[1] = {"n", kArray, ArrayHead(kString, uint64_t{1} << 61)};
       }},
      {"string, length", ErrorCode::kCorrupt, "string 0 of key 'n'", "has 18446744073709551615 bytes, and",
       [](GgufWriter& w) {
         w.values[1] = {"n", kString, ByteBuilder().Number(UINT64_MAX).Take()};
       }},
      {"strings, file", ErrorCode::kCorrupt, "string 1 of key 'n'", "the file ends before",
       [](GgufWriter& w) {
         w.tensors.clear();
         w.Remove("words").Remove("n");
         std::vector<uint8_t> body = ArrayHead(kString, 2);
         body.push_back(1);                 // the length of the first, which takes one byte,
         body.resize(body.size() + 7 + 1);  // and leaves seven for the length of the second
         body.resize(body.size() + 7);
         w.Raw("n", kArray, body);
       }},
      {"key, twice", ErrorCode::kCorrupt, "metadata key 'n'", "stands there twice",
       [](GgufWriter& w) { w.values[2].key.assign(1, 'n'); }},
      {"alignment, type", ErrorCode::kCorrupt, "key 'general.alignment'", "the format wants uint32",
       [](GgufWriter& w) { w.Uint64("general.alignment", 32); }},
      {"alignment, zero", ErrorCode::kCorrupt, "key 'general.alignment' is 0", "a power of two",
       [](GgufWriter& w) { w.Uint32("general.alignment", 0); }},
      {"alignment, power", ErrorCode::kCorrupt, "key 'general.alignment' is 24", "a power of two",
       [](GgufWriter& w) { w.Uint32("general.alignment", 24); }},
      {"tensor name, empty", ErrorCode::kCorrupt, "tensor 0", "the name of tensor 0 is empty",
       [](GgufWriter& w) { w.tensors[0].name.clear(); }},
      {"tensor name, length", ErrorCode::kCorrupt, "tensor 1", "has 65 bytes; the format allows 64",
       [](GgufWriter& w) { w.tensors[1].name = std::string(65, 'b'); }},
      {"dimensions, none", ErrorCode::kCorrupt, "tensor 'a'", "has 0 dimensions",
       [](GgufWriter& w) { w.tensors[0].dimensions = 0; }},
      {"dimensions, many", ErrorCode::kCorrupt, "tensor 'a'", "has 5 dimensions",
       [](GgufWriter& w) { w.tensors[0].dimensions = 5; }},
      {"dimension 0", ErrorCode::kCorrupt, "tensor 'a'", "dimension 1 of",
       [](GgufWriter& w) { w.tensors[0].shape[1] = 0; }},
      {"elements", ErrorCode::kCorrupt, "tensor 'a'", "more than 2^63 - 1 elements",
       [](GgufWriter& w) {
         w.tensors[0].shape = {uint64_t{1} << 40, uint64_t{1} << 40};
       }},
      {"elements, sign", ErrorCode::kCorrupt, "tensor 'b'", "more than 2^63 - 1 elements",
       [](GgufWriter& w) {
         w.tensors[1].shape = {uint64_t{1} << 32, uint64_t{1} << 31};
       }},
      {"bytes", ErrorCode::kCorrupt, "tensor 'a'", "more than 2^64 - 1 bytes",
       [](GgufWriter& w) { w.tensors[0].shape = {uint64_t{1} << 62}; }},
      {"tensor type, not built", ErrorCode::kUnsupported, "tensor 'a'", "type Q5_K 13",
       [](GgufWriter& w) { w.tensors[0].type = kQ5K; }},
      {"tensor type, unknown", ErrorCode::kUnsupported, "tensor 'a'", "type number 4000",
       [](GgufWriter& w) { w.tensors[0].type = 4000; }},
      {"blocks", ErrorCode::kCorrupt, "tensor 'b'", "rows of 31 elements; type Q8_0 wants a multiple of 32",
       [](GgufWriter& w) { w.tensors[1].shape = {31}; }},
      {"tensor, twice", ErrorCode::kCorrupt, "tensor 'a'", "stands there twice",
       [](GgufWriter& w) { w.tensors[1].name.assign(1, 'a'); }},
      {"data, start", ErrorCode::kCorrupt, "behind the file's end", "the tensors' data should begin",
       [](GgufWriter& w) { w.Uint32("general.alignment", 1u << 31); }},
      {"data, alignment", ErrorCode::kCorrupt, "tensor 'b'", "no multiple of the alignment 32",
       [](GgufWriter& w) { w.tensors[1].offset = 16; }},
      {"data, offset", ErrorCode::kCorrupt, "tensor 'b'",
       "(offset 18446744073709551584, 34 bytes) reaches behind",
       [](GgufWriter& w) { w.tensors[1].offset = UINT64_MAX - 31; }},
      {"data, end", ErrorCode::kCorrupt, "tensor 'b'", "(offset 64, 3400 bytes) reaches behind",
       [](GgufWriter& w) { w.tensors[1].shape = {3200}; }},
      {"data, overlap", ErrorCode::kCorrupt, "tensors 'a' and 'b'", "overlap",
       [](GgufWriter& w) { w.tensors[1].offset = 32; }},
  };
  return *rules;
}

absl::Status Parse(std::vector<uint8_t> bytes) { return GgufFile::Read(FileOf(std::move(bytes))).status(); }

TEST(GgufRules, UnbrokenFileIsRead) {
  const absl::Status status = Parse(Valid().Build());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(GgufRules, EachBrokenRuleHasItsOwnMessageWithThePlace) {
  for (const BrokenFile& broken : Rules()) {
    GgufWriter writer = Valid();
    broken.breaks(writer);
    ExpectRefusal(Parse(writer.Build()), broken, Rules());
  }
}

TEST(GgufRules, EveryTruncationOfAModelIsAnErrorThatSaysTheFileEnded) {
  TinyModelOptions options;
  options.layers = 1;
  options.hidden = options.feed_forward = options.head_size = 32;
  options.heads = 1;
  options.embedding_type = options.attention_type = options.feed_forward_type = TensorType::kQ4_0;
  const std::vector<uint8_t> whole = MakeTinyModel(options);
  ASSERT_TRUE(Parse(whole).ok());
  for (size_t length = 0; length < whole.size(); ++length) {
    // A copy of exactly this length, so that a sanitizer sees a read behind it.
    const absl::Status status = Parse({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)});
    ASSERT_EQ(CodeOf(status), ErrorCode::kCorrupt) << length << " bytes: " << status;
  }
}

TEST(GgufRules, EveryFailedReadIsPassedOn) {
  const std::vector<uint8_t> bytes = MakeTinyModel();
  auto counted = std::make_shared<FakeFile>(bytes);
  ASSERT_TRUE(GgufFile::Read(counted).ok());
  // The header of a small model is one buffer, not a read per field.
  EXPECT_LE(counted->reads(), 2);
  for (int64_t read = 0; read < counted->reads(); ++read) {
    auto failing = std::make_shared<FakeFile>(bytes);
    failing->FailRead(read);
    EXPECT_EQ(CodeOf(GgufFile::Read(failing).status()), ErrorCode::kIoError) << "read " << read;
  }
}

TEST(GgufRules, FileThatClaimsMoreThanItHasIsAnIoError) {
  auto file = std::make_shared<FakeFile>(Valid().Build());
  file->ClaimSize(file->bytes().size() + 1);
  EXPECT_EQ(CodeOf(GgufFile::Read(file).status()), ErrorCode::kIoError);
}

TEST(GgufRules, StringsThatChangeBetweenTheTwoPassesAreRefused) {
  // Given a table larger than the reader's buffer, so that its lengths are read twice
  GgufWriter writer;
  writer.Strings("words", std::vector<std::string>(3, std::string(300000, 'x')));
  auto file = std::make_shared<FakeFile>(writer.Build());
  const size_t length_at = 24 + 8 + 5 + 4 + 4 + 8;
  // When the first length grows after the first pass has seen it
  file->BeforeRead([&](int64_t read) {
    if (read == 3) file->bytes()[length_at + 2] = 0xff;
  });
  // Then
  const absl::Status status = GgufFile::Read(file).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kIoError);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("changed while the file was read"));
}

TEST(GgufRules, MessagesShowOnlyPrintableAsciiOfNames) {
  GgufWriter writer;
  writer.Uint32("\xff\n", 1).Uint32("\xff\n", 2);
  EXPECT_THAT(std::string(Parse(writer.Build()).message()), ::testing::HasSubstr("'\\xff\\n'"));
}

}  // namespace
}  // namespace tessera

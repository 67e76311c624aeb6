// The reader's promise: never more memory than the file's size + 64 MiB. Counted by this program's own
// operator new, on the files that make parsers swell: many small things.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/model/gguf.h"
#include "core/model/model_spec.h"
#include "tests/doubles/gguf_writer.h"
#include "tests/doubles/tiny_model.h"

namespace {

std::atomic<size_t> live_bytes{0}, peak_bytes{0};
constexpr size_t kPrefix = 16;  // holds the size, keeps the alignment

}  // namespace

void* operator new(size_t size) {
  void* base = std::malloc(size + kPrefix);
  if (base == nullptr) throw std::bad_alloc();
  *static_cast<size_t*>(base) = size;
  const size_t live = live_bytes.fetch_add(size) + size;
  size_t peak = peak_bytes.load();
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return static_cast<char*>(base) + kPrefix;
}
void operator delete(void* pointer) noexcept {
  if (pointer == nullptr) return;
  void* base = static_cast<char*>(pointer) - kPrefix;
  live_bytes.fetch_sub(*static_cast<size_t*>(base));
  std::free(base);
}
void operator delete(void* pointer, size_t) noexcept { operator delete(pointer); }

namespace tessera {
namespace {

constexpr size_t kSlack = size_t{64} << 20;

// Most bytes that reading took, whether it succeeded or not.
size_t PeakOfReading(const std::shared_ptr<const RandomAccessFile>& file, bool* ok) {
  const size_t before = live_bytes.load();
  peak_bytes.store(before);
  auto read = GgufFile::Read(file);
  *ok = read.ok();
  if (read.ok()) static_cast<void>(ReadModelSpec(**read));
  return peak_bytes.load() - before;
}

void ExpectBounded(const GgufWriter& writer, bool readable) {
  const std::vector<uint8_t> bytes = writer.Build();
  const std::shared_ptr<const RandomAccessFile> file = BorrowMemory(bytes.data(), bytes.size());
  bool ok = false;
  const size_t peak = PeakOfReading(file, &ok);
  EXPECT_EQ(ok, readable);
  EXPECT_LE(peak, bytes.size() + kSlack) << "of a file of " << bytes.size() << " bytes";
}

TEST(GgufMemory, ArrayOfBytesStaysPacked) {
  GgufWriter writer;
  writer.Array("bytes", GgufType::kUint8, std::vector<uint8_t>(40 << 20, 7));
  ExpectBounded(writer, true);
}

TEST(GgufMemory, ManyEmptyStringsTakeNoMoreThanTheirLengths) {
  GgufWriter writer;
  std::vector<uint8_t> body = ByteBuilder().Number(uint32_t{8}).Number(uint64_t{5 << 20}).Take();
  body.resize(body.size() + (size_t{40} << 20));
  writer.Raw("strings", 9, std::move(body));
  ExpectBounded(writer, true);
}

TEST(GgufMemory, MostKeysFit) {
  GgufWriter writer;
  for (int i = 0; i < 65536; ++i) writer.Bool(absl::StrCat("k", i), true);
  ExpectBounded(writer, true);
}

TEST(GgufMemory, MostTensorsFit) {
  GgufWriter writer;
  writer.Alignment(1);
  for (int i = 0; i < 65536; ++i) {
    writer.Tensor(absl::StrCat("t", i), TensorType::kF32, {1}, std::vector<uint8_t>(4));
  }
  ExpectBounded(writer, true);
}

TEST(GgufMemory, MostLayersFit) {
  TinyModelOptions options;
  options.layers = 4096;
  options.hidden = options.feed_forward = options.head_size = 2;
  options.heads = 1;
  ExpectBounded(BuildTinyModel(options).writer, true);
}

TEST(GgufMemory, ClaimsBeyondTheFileAllocateNothing) {
  for (const uint32_t type : {0u, 4u, 8u, 12u}) {
    GgufWriter writer;
    writer.Raw("array", 9, ByteBuilder().Number(type).Number(uint64_t{1} << 40).Take());
    writer.String("after", std::string(1000, 'x'));
    ExpectBounded(writer, false);
  }
}

}  // namespace
}  // namespace tessera

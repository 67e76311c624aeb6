#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gpu/kernels/cache_append/cache_append.h"
#include "tests/gpu/attention_problem.h"
#include "tests/gpu/cache_append_reference.h"
#include "tests/gpu/gpu_test.h"
#include "tests/gpu/paged_cache.h"

namespace tessera::gpu {
namespace {

constexpr ElementType kF32 = ElementType::kF32;
constexpr ElementType kBF16 = ElementType::kBF16;
constexpr ElementType kF16 = ElementType::kF16;
constexpr ElementType kInt8Rows = ElementType::kInt8Rows;
constexpr RotaryPairing kInterleaved = RotaryPairing::kInterleaved;
constexpr RotaryPairing kHalves = RotaryPairing::kHalves;

std::vector<float> InverseFrequencies(int32_t pairs) {
  std::vector<float> frequencies;
  for (int32_t i = 0; i < pairs; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(500000.0, -static_cast<double>(i) / pairs)));
  }
  return frequencies;
}

struct AppendCase {
  ElementType input_type = kBF16;
  ElementType query_type = kBF16;
  ElementType cache_type = kBF16;
  int32_t heads = 4;
  int32_t kv_heads = 2;
  int32_t head_size = 64;
  int32_t rotary_dimensions = 64;
  RotaryPairing pairing = kHalves;
  bool biases = true;
  int32_t block_tokens = 16;
};

std::string Name(const AppendCase& test) {
  return "input " + std::to_string(static_cast<int>(test.input_type)) + ", cache " +
         std::to_string(static_cast<int>(test.cache_type)) + ", head size " + std::to_string(test.head_size) +
         ", rotary " + std::to_string(test.rotary_dimensions) + ", pairing " +
         std::to_string(static_cast<int>(test.pairing));
}

// Bits of elements of a type, and what they are.
class Inputs {
 public:
  Inputs(ElementType type, size_t count, uint32_t seed) : type_(type) {
    QuickRandom random(seed);
    for (size_t i = 0; i < count; ++i) Add(random());
  }
  void Add(float x) {
    if (type_ == kF32) {
      const auto* const bytes = reinterpret_cast<const uint8_t*>(&x);
      bytes_.insert(bytes_.end(), bytes, bytes + 4);
      values_.push_back(x);
      return;
    }
    const uint16_t bits = ToBits(type_, x);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(&bits);
    bytes_.insert(bytes_.end(), bytes, bytes + 2);
    values_.push_back(FromBits(type_, bits));
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  float operator[](size_t i) const { return values_[i]; }

 private:
  ElementType type_;
  std::vector<uint8_t> bytes_;
  std::vector<float> values_;
};

class CacheAppendTest : public GpuTest {
 protected:
  LaunchContext Context() const { return {stream_, properties_.multiProcessorCount, false}; }

  // Rows at scattered positions of two sequences whose tokens are poisoned, all in one launch.
  void Check(const AppendCase& test);
};

// The head's elements with bias and rotation, in double precision.
std::vector<double> Rotated(const AppendCase& test, const std::vector<float>& frequencies, int32_t position,
                            const std::vector<double>& x) {
  std::vector<double> result = x;
  const auto pairs = static_cast<size_t>(test.rotary_dimensions / 2);
  for (size_t i = 0; i < pairs; ++i) {
    const bool interleaved = test.pairing == kInterleaved;
    const size_t first = interleaved ? 2 * i : i;
    const size_t second = interleaved ? 2 * i + 1 : pairs + i;
    const double angle = static_cast<double>(position) * frequencies[i];
    result[first] = x[first] * std::cos(angle) - x[second] * std::sin(angle);
    result[second] = x[first] * std::sin(angle) + x[second] * std::cos(angle);
  }
  return result;
}

// How far a value may be from what it was rounded from, once: half of the distance to its neighbours, which
// is one for all values between two powers of two, and FP32's errors beside it.
double RoundingBound(ElementType type, double value) {
  const int fraction_bits = type == kBF16 ? 7 : 10;
  const double power = value == 0 ? 0 : std::exp2(std::floor(std::log2(std::fabs(value))));
  return 0.5 * std::ldexp(power, -fraction_bits) * 1.001 + 2e-6;
}

void CacheAppendTest::Check(const AppendCase& test) {
  SCOPED_TRACE(Name(test));
  const std::vector<TestSequence> sequences = {{29, 5}, {0, 1}, {511, 1}, {100, 70}};
  const PagedCache cache({test.cache_type, test.kv_heads, test.head_size, test.block_tokens, 0, 0, 3},
                         sequences);
  const TestStep step(sequences, cache, 80, 6);
  const int32_t size = test.head_size;
  const int32_t width = (test.heads + 2 * test.kv_heads) * size;
  const int32_t rows = step.rows();
  const Inputs qkv(test.input_type, static_cast<size_t>(80 * width), 5);
  const std::vector<float> biases = RandomValues<float>(static_cast<size_t>(width), 0.5f, 6);
  const std::vector<float> frequencies = InverseFrequencies(test.rotary_dimensions / 2);

  const DeviceBuffer<uint8_t> device_qkv(qkv.bytes());
  const DeviceBuffer<float> device_biases(biases);
  const DeviceBuffer<float> device_frequencies(frequencies);
  const DeviceBuffer<float2> table(static_cast<size_t>(600) * frequencies.size() + 1);
  const DeviceBuffer<uint16_t> query(static_cast<size_t>(80 * test.heads * size));
  RotateAppendCall call;
  call.qkv = device_qkv.get();
  call.input_type = test.input_type;
  if (test.biases) {
    call.query_bias = device_biases.get();
    call.key_bias = call.query_bias + test.heads * size;
    call.value_bias = call.key_bias + test.kv_heads * size;
  }
  call.rotary_table = table.get();
  call.pairing = test.pairing;
  call.rotary_dimensions = test.rotary_dimensions;
  call.heads = test.heads;
  call.query = query.get();
  call.query_type = test.query_type;
  call.cache = cache.layout();
  call.step = step.arrays();
  call.capacity = 80;
  ASSERT_CUDA(cudaDeviceSynchronize());
  ASSERT_CUDA(LaunchRotaryTable(Context(), device_frequencies.get(), test.rotary_dimensions / 2, 1.0f, 600,
                                table.get()));
  ASSERT_CUDA(LaunchRotateAppend(Context(), call));

  const std::vector<uint16_t> queries = query.Read();
  int32_t row = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (int32_t r = 0; r < sequences[s].row_count; ++r, ++row) {
      const int32_t position = sequences[s].first_position + r;
      for (int32_t head = 0; head < test.heads + 2 * test.kv_heads; ++head) {
        std::vector<double> x;
        for (int32_t i = 0; i < size; ++i) {
          const auto bias = test.biases ? biases[static_cast<size_t>(head * size + i)] : 0.0f;
          x.push_back(static_cast<double>(qkv[static_cast<size_t>(row * width + head * size + i)]) + bias);
        }
        const bool is_value = head >= test.heads + test.kv_heads;
        const std::vector<double> wanted = is_value ? x : Rotated(test, frequencies, position, x);
        if (head < test.heads) {
          for (int32_t i = 0; i < size; ++i) {
            const auto at = static_cast<size_t>((row * test.heads + head) * size + i);
            ASSERT_NEAR(FromBits(test.query_type, queries[at]), wanted[static_cast<size_t>(i)],
                        RoundingBound(test.query_type, wanted[static_cast<size_t>(i)]))
                << "query, row " << row << ", head " << head << ", element " << i;
          }
          continue;
        }
        const int32_t kv_head = (head - test.heads) % test.kv_heads;
        std::vector<uint8_t> bytes(static_cast<size_t>(cache.layout().row_bytes));
        ASSERT_CUDA(cudaMemcpy(bytes.data(),
                               cache.device_row(is_value, static_cast<int32_t>(s), kv_head, position),
                               bytes.size(), cudaMemcpyDeviceToHost));
        if (test.cache_type == kInt8Rows) {
          const auto* const scales = reinterpret_cast<const __half*>(bytes.data() + (size + 1) / 2 * 2);
          for (int32_t i = 0; i < size; ++i) {
            const float scale = __half2float(scales[i / 32]);
            // Half a step, and a little where the largest passes 127 steps of the rounded scale.
            ASSERT_NEAR(static_cast<int8_t>(bytes[static_cast<size_t>(i)]) * scale,
                        wanted[static_cast<size_t>(i)], 0.57 * scale + 2e-6)
                << "cache, row " << row << ", head " << head << ", element " << i;
          }
          continue;
        }
        for (int32_t i = 0; i < size; ++i) {
          const uint16_t bits = reinterpret_cast<const uint16_t*>(bytes.data())[i];
          ASSERT_NEAR(FromBits(test.cache_type, bits), wanted[static_cast<size_t>(i)],
                      RoundingBound(test.cache_type, wanted[static_cast<size_t>(i)]))
              << "cache, row " << row << ", head " << head << ", element " << i;
        }
      }
    }
  }
  for (size_t i = static_cast<size_t>(rows * test.heads * size); i < queries.size(); ++i) {
    ASSERT_EQ(queries[i], 0xFFFF) << "a row beyond the step's";
  }
}

TEST_F(CacheAppendTest, EveryTypeAndPairingEqualsDoublePrecision) {
  for (const ElementType input : {kBF16, kF16, kF32}) {
    for (const ElementType cache : {kBF16, kF16, kInt8Rows}) {
      for (const RotaryPairing pairing : {kInterleaved, kHalves}) {
        AppendCase test;
        test.input_type = input;
        test.query_type = input == kF16 ? kF16 : kBF16;
        test.cache_type = cache;
        test.pairing = pairing;
        test.biases = input != kBF16;
        Check(test);
      }
    }
  }
}

TEST_F(CacheAppendTest, EveryHeadSizeAndRotaryPartEqualsDoublePrecision) {
  struct Sizes {
    int32_t head_size;
    int32_t rotary_dimensions;
  };
  for (const Sizes sizes : {Sizes{80, 80},
                            {80, 32},
                            {96, 96},
                            {128, 128},
                            {128, 64},
                            {256, 256},
                            {64, 0},
                            {64, 24},
                            {34, 34},
                            {40, 20},
                            {2, 2}}) {
    for (const ElementType cache : {kBF16, kInt8Rows}) {
      for (const RotaryPairing pairing : {kInterleaved, kHalves}) {
        AppendCase test;
        test.cache_type = cache;
        test.head_size = sizes.head_size;
        test.rotary_dimensions = sizes.rotary_dimensions;
        test.pairing = pairing;
        test.block_tokens = sizes.head_size == 40 ? 24 : 32;
        Check(test);
      }
    }
  }
}

// Values are not rotated: what the cache gets has the very bits of the CPU's rule, whatever the values are.
TEST_F(CacheAppendTest, RowsAreRoundedAsOnTheCpu) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int32_t size : {64, 40}) {  // by vectors, and element by element
    std::vector<std::vector<float>> rows;
    QuickRandom random(9);
    for (const float magnitude : {1.0f, 1e-3f, 1e-7f, 1e-9f, 0.0f, 1000.0f, 60000.0f, 3e6f, 1e30f, 1e-40f}) {
      rows.emplace_back();
      for (int32_t i = 0; i < size; ++i) rows.back().push_back(random() * magnitude);
    }
    rows.push_back(rows.front());
    rows.back()[3] = infinity;
    rows.push_back(rows.front());
    rows.back()[7] = std::nanf("");
    rows.emplace_back();  // halves of a step, which go to the even one
    for (int32_t i = 0; i < size; ++i) rows.back().push_back(i == 0 ? 127.0f : static_cast<float>(i) + 0.5f);
    const auto count = static_cast<int32_t>(rows.size());
    for (const ElementType type : {kBF16, kF16, kInt8Rows}) {
      const std::vector<TestSequence> sequences = {{0, count}};
      const PagedCache cache({type, 1, size, 16, 0, 0, 3}, sequences);
      const TestStep step(sequences, cache, count, 1);
      std::vector<float> qkv;
      for (const std::vector<float>& row : rows) {
        qkv.insert(qkv.end(), static_cast<size_t>(2 * size), 0.0f);
        qkv.insert(qkv.end(), row.begin(), row.end());
      }
      const DeviceBuffer<float> device_qkv(qkv);
      const DeviceBuffer<uint16_t> query(static_cast<size_t>(count * size));
      RotateAppendCall call;
      call.qkv = device_qkv.get();
      call.input_type = kF32;
      call.heads = 1;
      call.query = query.get();
      call.cache = cache.layout();
      call.step = step.arrays();
      call.capacity = count;
      ASSERT_CUDA(cudaDeviceSynchronize());
      ASSERT_CUDA(LaunchRotateAppend(Context(), call));
      ASSERT_CUDA(cudaDeviceSynchronize());

      for (int32_t r = 0; r < count; ++r) {
        const std::vector<float>& row = rows[static_cast<size_t>(r)];
        std::vector<uint8_t> actual(static_cast<size_t>(cache.layout().row_bytes));
        std::vector<uint8_t> expected(actual.size());
        ASSERT_CUDA(cudaMemcpy(actual.data(), cache.device_row(true, 0, 0, r), actual.size(),
                               cudaMemcpyDeviceToHost));
        StoreRowOnCpu(static_cast<int32_t>(type), row.data(), size, expected.data());
        for (int32_t i = 0; i < size && type != kInt8Rows; ++i) {
          const uint16_t a = reinterpret_cast<const uint16_t*>(actual.data())[i];
          const uint16_t b = reinterpret_cast<const uint16_t*>(expected.data())[i];
          // NaN is NaN, whatever its payload.
          if (std::isnan(row[static_cast<size_t>(i)])) {
            EXPECT_TRUE(std::isnan(FromBits(type, a)));
          } else {
            EXPECT_EQ(a, b) << "type " << static_cast<int>(type) << ", row " << r << ", element " << i;
          }
        }
        if (type == kInt8Rows) EXPECT_EQ(actual, expected) << "size " << size << ", row " << r;
      }
    }
  }
}

TEST_F(CacheAppendTest, NoOtherRowOfTheCacheIsWritten) {
  for (const int32_t head_size : {64, 40}) {
    const std::vector<TestSequence> sequences = {{20, 3}};
    const PagedCache cache({kBF16, 2, head_size, 16, 0, 0, 3}, sequences);
    const TestStep step(sequences, cache, 4, 1);
    const auto bytes = static_cast<size_t>(2 * cache.layout().block_bytes);
    std::vector<uint8_t> before(bytes);
    std::vector<uint8_t> after(bytes);
    const int32_t width = 6 * head_size;
    const DeviceBuffer<float> qkv(std::vector<float>(static_cast<size_t>(4 * width), 0.0f));
    const DeviceBuffer<uint16_t> query(static_cast<size_t>(4 * 2 * head_size));
    RotateAppendCall call;
    call.qkv = qkv.get();
    call.input_type = kF32;
    call.heads = 2;
    call.query = query.get();
    call.cache = cache.layout();
    call.step = step.arrays();
    call.capacity = 4;
    ASSERT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(cudaMemcpy(before.data(), cache.layout().data, bytes, cudaMemcpyDeviceToHost));
    ASSERT_CUDA(LaunchRotateAppend(Context(), call));
    ASSERT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(cudaMemcpy(after.data(), cache.layout().data, bytes, cudaMemcpyDeviceToHost));

    for (int32_t token = 20; token < 23; ++token) {
      for (int32_t i = 0; i < 4; ++i) {
        const auto at =
            static_cast<size_t>(cache.device_row(i % 2 != 0, 0, i / 2, token) - cache.layout().data);
        for (size_t byte = at; byte < at + static_cast<size_t>(cache.layout().row_bytes); ++byte) {
          EXPECT_EQ(after[byte], 0);
          before[byte] = 0;
        }
      }
    }
    EXPECT_EQ(before, after);
  }
}

TEST_F(CacheAppendTest, TheRotaryTableIsRightUpToAMillionPositions) {
  const int32_t pairs = 64;
  const int32_t positions = 1000001;
  const float magnitude = 1.1767f;
  const std::vector<float> frequencies = InverseFrequencies(pairs);
  const DeviceBuffer<float> device_frequencies(frequencies);
  const DeviceBuffer<float2> table(RotaryTableBytes(positions, pairs) / sizeof(float2));
  ASSERT_CUDA(cudaDeviceSynchronize());
  ASSERT_CUDA(
      LaunchRotaryTable(Context(), device_frequencies.get(), pairs, magnitude, positions, table.get()));
  const std::vector<float2> entries = table.Read();
  for (const int32_t position : {0, 1, 2, 255, 4096, 99999, 524287, 999999, 1000000}) {
    for (int32_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(position) * frequencies[static_cast<size_t>(i)];
      const float2 entry = entries[static_cast<size_t>(position) * pairs + static_cast<size_t>(i)];
      // One rounding to FP32, of what is at most 1.1767.
      EXPECT_NEAR(entry.x, std::cos(angle) * magnitude, 0x1.01p-24) << position << ", pair " << i;
      EXPECT_NEAR(entry.y, std::sin(angle) * magnitude, 0x1.01p-24) << position << ", pair " << i;
    }
  }
}

TEST_F(CacheAppendTest, BlocksAreCopiedInOrder) {
  for (const int64_t block_bytes : {int64_t{100000}, int64_t{4096 * 16}, int64_t{1002}}) {
    const int32_t blocks = 6;
    std::vector<uint8_t> bytes(static_cast<size_t>(blocks * block_bytes));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 251);
    // The last pair is beyond the count.
    const std::vector<int32_t> pairs = {0, 3, 3, 1, 4, 3, 5, 0, 2, 4};
    const std::vector<int32_t> count = {4};
    const DeviceBuffer<uint8_t> cache(bytes);
    const DeviceBuffer<int32_t> device_pairs(pairs);
    const DeviceBuffer<int32_t> device_count(count);
    ASSERT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(
        LaunchCopyBlocks(Context(), cache.get(), block_bytes, {device_pairs.get(), device_count.get()}));
    for (size_t i = 0; i < 4; ++i) {
      std::copy_n(bytes.begin() + pairs[2 * i] * block_bytes, block_bytes,
                  bytes.begin() + pairs[2 * i + 1] * block_bytes);
    }
    EXPECT_EQ(cache.Read(), bytes) << "blocks of " << block_bytes;
  }
}

}  // namespace
}  // namespace tessera::gpu

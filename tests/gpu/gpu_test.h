// What GPU tests share: a device or a skip, buffers that begin poisoned, random inputs, and the comparison
// with a double-precision reference.
#ifndef TESSERA_TESTS_GPU_GPU_TEST_H_
#define TESSERA_TESTS_GPU_GPU_TEST_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace tessera::gpu {

#define ASSERT_CUDA(call)                                                       \
  do {                                                                          \
    const cudaError_t error_of_call = (call);                                   \
    ASSERT_EQ(error_of_call, cudaSuccess) << cudaGetErrorString(error_of_call); \
  } while (false)

// A test that derives from it skips where there is no GPU.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "there is no GPU here";
    ASSERT_CUDA(cudaGetDeviceProperties(&properties_, 0));
    ASSERT_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  void TearDown() override {
    if (stream_ == nullptr) return;
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    cudaStreamDestroy(stream_);
  }

  cudaStream_t stream_ = nullptr;
  cudaDeviceProp properties_ = {};
};

// Device memory of `count` elements; every byte begins as 0xFF: NaN in each of the types, -1 as an integer.
template <typename T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t count) : count_(count) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), bytes()), cudaSuccess) << bytes() << " bytes";
    Poison();
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) { Write(values); }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* get() const { return data_; }
  size_t size() const { return count_; }
  size_t bytes() const { return count_ * sizeof(T); }
  void Poison() { EXPECT_EQ(cudaMemset(data_, 0xFF, bytes()), cudaSuccess); }
  void Write(const std::vector<T>& values) {
    ASSERT_EQ(values.size(), count_);
    ASSERT_EQ(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice), cudaSuccess);
  }
  // Waits for everything that the device has been given.
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

inline float ToFloat(float value) { return value; }
inline float ToFloat(__half value) { return __half2float(value); }
inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
template <typename T>
T FromFloat(float value);
template <>
inline float FromFloat<float>(float value) {
  return value;
}
template <>
inline __half FromFloat<__half>(float value) {
  return __float2half_rn(value);
}
template <>
inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// Normal, of the given deviation.
template <typename T>
std::vector<T> RandomValues(size_t count, float deviation, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<T> values(count);
  for (T& value : values) value = FromFloat<T>(normal(generator));
  return values;
}

// The distance of two vectors over the length of `expected`. NaN wherever `actual` has one.
template <typename T>
double RelativeError(const std::vector<T>& actual, const std::vector<double>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double distance = 0;
  double length = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(ToFloat(actual[i])) - expected[i];
    distance += difference * difference;
    length += expected[i] * expected[i];
  }
  return std::sqrt(distance / (length > 0 ? length : 1));
}

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_GPU_TEST_H_

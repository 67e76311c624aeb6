// A host of models on a real GPU, for tests of the public API: the GPU or a skip, models of random weights on
// it and on the CPU, conversations, and the comparison of two devices' logits.
#ifndef TESSERA_TESTS_GPU_API_GPU_HOST_H_
#define TESSERA_TESTS_GPU_API_GPU_HOST_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {

// Skips where there is no GPU.
class GpuApi : public testing::Test {
 protected:
  void SetUp() override;
};

// What the CUDA runtime says is free on the device, after all that was given to it has ended.
size_t FreeDeviceBytes();

Options OnGpu();

// Heads of 64 in two groups.
TinyModelOptions SmallModel(TensorType type = TensorType::kBF16);

// Stepped engines, so that what is submitted together is computed together.
Options Stepped();
// The same, and results depend on nothing beside them.
Options Invariant();
// A CPU engine without roundings of its own.
Options ExactCpu();

Options Greedy(int64_t tokens);

// `count` tokens of the tiny models' vocabulary, drawn with `seed`.
std::vector<int32_t> RandomTokens(uint64_t seed, size_t count);

tsr_engine_metrics Metrics(tsr_engine* engine);

// Prompts submitted together; their answers in order.
std::vector<Answer> AnswerAll(const Host& host, tsr_engine* engine,
                              const std::vector<std::vector<int32_t>>& prompts, const Options& request);
// The same, one after the other.
std::vector<Answer> AnswerEach(const Host& host, tsr_engine* engine,
                               const std::vector<std::vector<int32_t>>& prompts, const Options& request);

void ExpectSameAnswers(const std::vector<Answer>& a, const std::vector<Answer>& b, const std::string& what);

// Logits after the prompt and after each of the tokens but the last: [tokens][vocabulary].
std::vector<std::vector<float>> ForcedLogits(const Host& host, tsr_engine* engine,
                                             const std::vector<int32_t>& prompt,
                                             const std::vector<int32_t>& tokens);

// The distance of two rows over the length of `expected`. NaN where `actual` has one.
double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected);

}  // namespace tessera::host

#endif  // TESSERA_TESTS_GPU_API_GPU_HOST_H_

// The kernels between the products, against double precision: embed, norm, activation, bias; and the step's
// ends.
#include <string>

#include "gpu/kernels/bias_add/bias_add.h"
#include "gpu/kernels/embed/embed.h"
#include "gpu/kernels/rms_norm/rms_norm.h"
#include "gpu/kernels/step_io/step_io.h"
#include "gpu/kernels/swiglu/swiglu.h"
#include "tests/gpu/gpu_test.h"

namespace tessera::gpu {
namespace {

template <typename T>
constexpr ElementType kTypeOf = ElementType::kBF16;
template <>
constexpr ElementType kTypeOf<__half> = ElementType::kF16;
// Of a result that is rounded to the type once.
template <typename T>
constexpr double kBoundOf = 3e-3;
template <>
constexpr double kBoundOf<__half> = 4e-4;

template <typename T>
class SmallKernelsTest : public GpuTest {
 protected:
  LaunchContext launch() const { return {stream_, properties_.multiProcessorCount, true}; }
};
using Elements = ::testing::Types<__nv_bfloat16, __half>;
TYPED_TEST_SUITE(SmallKernelsTest, Elements);

TYPED_TEST(SmallKernelsTest, EmbedWidensTheRowsOfTokensAndClearsTheRest) {
  using T = TypeParam;
  for (const int32_t columns : {1, 30, 64, 1000, 4096}) {
    constexpr int32_t kVocabulary = 37;
    const auto table = RandomValues<T>(static_cast<size_t>(kVocabulary) * columns, 1.0f, 1);
    const std::vector<int32_t> tokens = {36, 0, 5, 5, 17, 0};
    const DeviceBuffer<T> table_device(table);
    const DeviceBuffer<int32_t> tokens_device(tokens), rows(std::vector<int32_t>{5});
    DeviceBuffer<float> hidden(static_cast<size_t>(6 * columns));
    EmbedArgs args;
    args.table = table_device.get();
    args.vocabulary = kVocabulary;
    args.columns = columns;
    args.tokens = tokens_device.get();
    args.rows = rows.get();
    args.capacity = 6;
    args.hidden = hidden.get();
    ASSERT_CUDA(LaunchEmbed(this->launch(), kTypeOf<T>, args));
    const std::vector<float> actual = hidden.Read();
    for (int32_t row = 0; row < 6; ++row) {
      for (int32_t i = 0; i < columns; ++i) {
        const float expected =
            row < 5 ? ToFloat(table[static_cast<size_t>(tokens[static_cast<size_t>(row)] * columns + i)])
                    : 0.0f;
        ASSERT_EQ(actual[static_cast<size_t>(row * columns + i)], expected) << row << ", " << i;
      }
    }
  }
}

TYPED_TEST(SmallKernelsTest, RmsNormNormsRowsAndGathersThoseThatAreWanted) {
  using T = TypeParam;
  for (const int32_t columns : {1, 7, 64, 90, 2048, 8192}) {
    constexpr float kEpsilon = 1e-5f;
    const auto hidden = RandomValues<float>(static_cast<size_t>(9 * columns), 3.0f, 1);
    const auto weight = RandomValues<float>(static_cast<size_t>(columns), 1.0f, 2);
    const DeviceBuffer<float> hidden_device(hidden), weight_device(weight);
    for (const bool gathers : {false, true}) {
      const std::vector<int32_t> wanted =
          gathers ? std::vector<int32_t>{8, 2, 2, 0} : std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8};
      const DeviceBuffer<int32_t> gather(wanted);
      DeviceBuffer<T> out(wanted.size() * static_cast<size_t>(columns));
      RmsNormArgs args;
      args.hidden = hidden_device.get();
      args.weight = weight_device.get();
      args.epsilon = kEpsilon;
      args.columns = columns;
      args.gather = gathers ? gather.get() : nullptr;
      args.rows = static_cast<int32_t>(wanted.size());
      args.out = out.get();
      ASSERT_CUDA(LaunchRmsNorm(this->launch(), kTypeOf<T>, args));
      std::vector<double> expected;
      for (const int32_t row : wanted) {
        const float* const x = hidden.data() + static_cast<int64_t>(row) * columns;
        double squares = 0;
        for (int32_t i = 0; i < columns; ++i)
          squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        const double scale = 1.0 / std::sqrt(squares / columns + static_cast<double>(kEpsilon));
        for (int32_t i = 0; i < columns; ++i) {
          expected.push_back(static_cast<double>(x[i]) * scale *
                             static_cast<double>(weight[static_cast<size_t>(i)]));
        }
      }
      EXPECT_LT(RelativeError(out.Read(), expected), kBoundOf<T>) << columns;
    }
  }
}

TYPED_TEST(SmallKernelsTest, SwiGluMultipliesUpByTheGatesSilu) {
  using T = TypeParam;
  for (const int32_t columns : {1, 77, 64, 3000, 14336}) {
    constexpr int32_t kRows = 5;
    auto gate_up = RandomValues<T>(static_cast<size_t>(kRows * 2 * columns), 3.0f, 1);
    gate_up[0] = FromFloat<T>(-300.0f);  // e^300 is no float
    const DeviceBuffer<T> gate_up_device(gate_up);
    DeviceBuffer<T> out(static_cast<size_t>(kRows * columns));
    SwiGluArgs args;
    args.gate_up = gate_up_device.get();
    args.rows = kRows;
    args.columns = columns;
    args.out = out.get();
    ASSERT_CUDA(LaunchSwiGlu(this->launch(), kTypeOf<T>, args));
    std::vector<double> expected;
    for (int32_t row = 0; row < kRows; ++row) {
      for (int32_t i = 0; i < columns; ++i) {
        const double gate = static_cast<double>(ToFloat(gate_up[static_cast<size_t>(row * 2 * columns + i)]));
        const double up =
            static_cast<double>(ToFloat(gate_up[static_cast<size_t>((row * 2 + 1) * columns + i)]));
        expected.push_back(gate / (1.0 + std::exp(-gate)) * up);
      }
    }
    EXPECT_LT(RelativeError(out.Read(), expected), kBoundOf<T>) << columns;
  }
}

class StepKernelsTest : public GpuTest {};

TEST_F(StepKernelsTest, ABiasIsAddedToEveryRow) {
  for (const int32_t columns : {1, 90, 4096}) {
    const auto before = RandomValues<float>(static_cast<size_t>(3 * columns), 1.0f, 1);
    const auto bias = RandomValues<float>(static_cast<size_t>(columns), 1.0f, 2);
    DeviceBuffer<float> hidden(before);
    const DeviceBuffer<float> bias_device(bias);
    ASSERT_CUDA(LaunchBiasAdd({stream_, properties_.multiProcessorCount, true},
                              {bias_device.get(), 3, columns, hidden.get()}));
    const std::vector<float> actual = hidden.Read();
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(actual[i], before[i] + bias[i % static_cast<size_t>(columns)]);
    }
  }
}

// Pinned memory that the device reads.
template <typename T>
class Pinned {
 public:
  explicit Pinned(const std::vector<T>& values) : count_(values.size()) {
    EXPECT_EQ(cudaMallocHost(reinterpret_cast<void**>(&data_), count_ * sizeof(T)), cudaSuccess);
    std::copy(values.begin(), values.end(), data_);
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  T* get() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

TEST_F(StepKernelsTest, AStepIsUnpackedWithItsTokensResolvedAndPublishedWhereItSays) {
  const Pinned<int32_t> tokens({11, kFirstEarlierSample - 1, 13, kFirstEarlierSample - 0});
  const Pinned<int32_t> positions({5, 9, 10, 0}), row_sequence({0, 1, 1, 2}), first_row({0, 1, 3});
  const Pinned<int32_t> row_count({1, 2, 1}), first_position({5, 9, 0}), sample_rows({0, 2});
  const Pinned<TableSource> tables({{0, 3}, {4, 1}, {8, 4}, {12, 2}, {16, 1}, {20, 5}});
  std::vector<int32_t> ids(28);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = 1000 + static_cast<int32_t>(i);
  const Pinned<int32_t> blocks(ids);
  std::vector<SampleParams> both(2);
  std::memset(both.data(), 0, sizeof(SampleParams) * 2);
  both[0].temperature = 0.5f;
  both[1].top_logprobs = 3;
  both[0].top_logprobs = -1;
  const Pinned<SampleParams> params(both);
  const Pinned<tsr_device_bias> biases({{7, 1.5f}, {8, -2.0f}, {9, 0.25f}});
  const Pinned<int32_t> window({4, -1, kFirstEarlierSample - 1});
  const Pinned<SampleResult> results(std::vector<SampleResult>(2, SampleResult{-9, -9, -9, -9, {}, {}}));
  const Pinned<StepTimes> times({{0, 0}});
  StepInput input;
  input.rows = 4;
  input.sequences = 3;
  input.samples = 2;
  input.groups = 2;
  input.bias_count = 3;
  input.window_token_count = 3;
  input.tokens = tokens.get();
  input.positions = positions.get();
  input.row_sequence = row_sequence.get();
  input.first_row = first_row.get();
  input.row_count = row_count.get();
  input.first_position = first_position.get();
  input.sample_rows = sample_rows.get();
  input.tables = tables.get();
  input.table_blocks = blocks.get();
  input.params = params.get();
  input.biases = biases.get();
  input.window_tokens = window.get();
  input.outlet = {results.get(), times.get()};
  constexpr size_t kRows = 6, kSequences = 4, kStride = 8;
  DeviceBuffer<int32_t> counts(StepArrays::kCountsSize), tokens_out(kRows), positions_out(kRows),
      sequence_out(kRows);
  DeviceBuffer<int32_t> first_row_out(kSequences), row_count_out(kSequences), first_position_out(kSequences);
  DeviceBuffer<int32_t> sample_rows_out(kRows), tables_out(2 * kSequences * kStride), window_out(3);
  DeviceBuffer<SampleParams> params_out(2);
  DeviceBuffer<tsr_device_bias> biases_out(3);
  DeviceBuffer<StepOutlet> outlet(1);
  const DeviceBuffer<int32_t> sampled(std::vector<int32_t>{-1, 222});
  StepTarget target;
  target.row_capacity = kRows;
  target.sample_capacity = 4;
  target.table_stride = kStride;
  target.max_sequences = kSequences;
  target.counts = counts.get();
  target.tokens = tokens_out.get();
  target.positions = positions_out.get();
  target.row_sequence = sequence_out.get();
  target.first_row = first_row_out.get();
  target.row_count = row_count_out.get();
  target.first_position = first_position_out.get();
  target.sample_rows = sample_rows_out.get();
  target.block_tables = tables_out.get();
  target.params = params_out.get();
  target.biases = biases_out.get();
  target.window_tokens = window_out.get();
  target.sampled = sampled.get();
  target.outlet = outlet.get();
  const LaunchContext launch = {stream_, properties_.multiProcessorCount, false};

  ASSERT_CUDA(LaunchUnpackStep(launch, input, target));

  using Ints = std::vector<int32_t>;
  EXPECT_EQ(tokens_out.Read(), (Ints{11, 222, 13, 0, 0, 0}));
  EXPECT_EQ(positions_out.Read(), (Ints{5, 9, 10, 0, 0, 0}));
  EXPECT_EQ(sequence_out.Read(), (Ints{0, 1, 1, 2, -1, -1}));
  EXPECT_EQ(first_row_out.Read(), (Ints{0, 1, 3, 0}));
  EXPECT_EQ(row_count_out.Read(), (Ints{1, 2, 1, 0}));
  EXPECT_EQ(first_position_out.Read(), (Ints{5, 9, 0, 0}));
  const Ints read_counts = counts.Read();
  EXPECT_EQ(Ints(read_counts.begin(), read_counts.begin() + 3), (Ints{4, 3, 2}));
  const Ints read_samples = sample_rows_out.Read();
  EXPECT_EQ(Ints(read_samples.begin(), read_samples.begin() + 4), (Ints{0, 2, 0, 0}));
  const Ints read_tables = tables_out.Read();
  for (size_t sequence = 0; sequence < 3; ++sequence) {
    for (size_t group = 0; group < 2; ++group) {
      const TableSource source = tables[sequence * 2 + group];
      for (int32_t i = 0; i < source.count; ++i) {
        EXPECT_EQ(read_tables[(group * kSequences + sequence) * kStride + static_cast<size_t>(i)],
                  1000 + source.first + i);
      }
    }
  }
  EXPECT_EQ(window_out.Read(), (Ints{4, -1, 222}));
  EXPECT_EQ(params_out.Read()[0].temperature, 0.5f);
  EXPECT_EQ(biases_out.Read()[2].bias, 0.25f);

  SampleResult one = {55, 0, -1.0f, 0, {}, {}};
  SampleResult two = {66, 0, -2.0f, 3, {1, 2, 3}, {-2.0f, -3.0f, -4.0f}};
  const DeviceBuffer<SampleResult> device_results(std::vector<SampleResult>{one, two});
  ASSERT_CUDA(
      LaunchPublishStep(launch, {counts.get(), params_out.get(), device_results.get(), outlet.get(), 4}));
  ASSERT_CUDA(cudaStreamSynchronize(stream_));
  EXPECT_EQ(results[0].token, 55);
  EXPECT_EQ(results[1].token, 66);
  EXPECT_EQ(results[1].top_tokens[2], 3);
  EXPECT_EQ(results[1].top_logprobs[2], -4.0f);
  EXPECT_GT(times[0].first_ns, 0u);
  EXPECT_GE(times[0].last_ns, times[0].first_ns);
}

}  // namespace
}  // namespace tessera::gpu

// Products of all row counts, by cuBLASLt and by the module's own kernel, against double precision.
#include <memory>
#include <string>

#include "gpu/blas/cublas_lt.h"
#include "gpu/blas/matmul.h"
#include "gpu/device/device_api.h"
#include "tests/gpu/gpu_test.h"

namespace tessera::gpu {
namespace {

struct Shape {
  int32_t outputs;
  int32_t columns;
};

template <typename T>
constexpr ElementType kTypeOf = ElementType::kF32;
template <>
constexpr ElementType kTypeOf<__half> = ElementType::kF16;
template <>
constexpr ElementType kTypeOf<__nv_bfloat16> = ElementType::kBF16;

class MatmulTest : public GpuTest, public ::testing::WithParamInterface<bool> {
 protected:
  static constexpr int32_t kMaxRows = 300;

  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    if (GetParam() && FindCublasLt() == nullptr) GTEST_SKIP() << "there is no cuBLASLt here";
    workspace_ = std::make_unique<DeviceBuffer<uint8_t>>(Matmul::kWorkspaceBytes);
    launch_.stream = stream_;
    launch_.sm_count = properties_.multiProcessorCount;
  }
  void TearDown() override {
    workspace_.reset();
    GpuTest::TearDown();
  }

  std::unique_ptr<Matmul> Make(bool batch_invariant) {
    MatmulOptions options;
    options.use_library = GetParam();
    options.batch_invariant = batch_invariant;
    auto made = Matmul::Create(&api_, options, workspace_->get());
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? *std::move(made) : nullptr;
  }

  // Rows of `out` lie further apart than they are long, and begin at an odd place where `shifted`.
  template <typename T, typename Out>
  void Check(Shape shape, bool accumulate, bool shifted, double bound) {
    const std::unique_ptr<Matmul> matmul = Make(false);
    ASSERT_NE(matmul, nullptr);
    const int64_t stride = shape.outputs + (shifted ? 24 : 0);
    const size_t outs = static_cast<size_t>(kMaxRows * stride + 8);
    const auto x = RandomValues<T>(static_cast<size_t>(kMaxRows) * shape.columns, 1.0f, 1);
    const auto weight = RandomValues<T>(static_cast<size_t>(shape.outputs) * shape.columns,
                                        1.0f / std::sqrt(static_cast<float>(shape.columns)), 2);
    const auto before = RandomValues<Out>(outs, 1.0f, 3);
    const DeviceBuffer<T> x_device(x), weight_device(weight);
    DeviceBuffer<Out> out(outs);
    Out* const target = out.get() + (shifted ? 8 : 0);
    MatmulShape plan;
    plan.type = kTypeOf<T>;
    plan.out_type = kTypeOf<Out>;
    plan.outputs = shape.outputs;
    plan.columns = shape.columns;
    plan.out_stride = stride;
    plan.weight_align = AlignmentOf(weight_device.get());
    plan.out_align = AlignmentOf(target);
    plan.accumulate = accumulate;
    plan.max_rows = kMaxRows;
    const auto index = matmul->Prepare(plan, launch_, x_device.get(), weight_device.get(), target);
    ASSERT_TRUE(index.ok()) << index.status();
    ASSERT_CUDA(cudaStreamSynchronize(stream_));  // preparing runs products

    for (const int32_t rows : {1, 2, 3, 7, 8, 16, 17, 33, 64, 65, 128, 200, 299, 300}) {
      if (accumulate) {
        out.Write(before);
      } else {
        out.Poison();
      }
      const absl::Status status =
          matmul->Run(*index, launch_, x_device.get(), weight_device.get(), rows, target);
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_CUDA(cudaStreamSynchronize(stream_));
      const std::vector<Out> all = out.Read();
      std::vector<float> actual;
      std::vector<double> expected;
      for (const int32_t row : {0, rows / 2, rows - 1}) {
        for (int32_t o = 0; o < shape.outputs; ++o) {
          const size_t at = static_cast<size_t>(row * stride + o + (shifted ? 8 : 0));
          double sum = accumulate ? static_cast<double>(ToFloat(before[at])) : 0.0;
          for (int32_t i = 0; i < shape.columns; ++i) {
            sum += static_cast<double>(ToFloat(x[static_cast<size_t>(row * shape.columns + i)])) *
                   static_cast<double>(ToFloat(weight[static_cast<size_t>(o * shape.columns + i)]));
          }
          actual.push_back(ToFloat(all[at]));
          expected.push_back(sum);
        }
      }
      EXPECT_LT(RelativeError(actual, expected), bound)
          << rows << " rows of " << shape.columns << " to " << shape.outputs;
      if (rows < kMaxRows) {  // what lies behind the rows is left alone
        const size_t behind = static_cast<size_t>(rows * stride + (shifted ? 8 : 0));
        if (accumulate) {
          EXPECT_EQ(ToFloat(all[behind]), ToFloat(before[behind]));
        } else {
          EXPECT_TRUE(std::isnan(ToFloat(all[behind])));
        }
      }
    }
  }

  DeviceApi api_{"test"};
  std::unique_ptr<DeviceBuffer<uint8_t>> workspace_;
  LaunchContext launch_;
};

TEST_P(MatmulTest, BF16ProductsAreRightForAllRowCounts) {
  for (const Shape shape : {Shape{128, 256}, Shape{320, 64}, Shape{72, 1000}, Shape{640, 2048}}) {
    Check<__nv_bfloat16, __nv_bfloat16>(shape, false, false, 4e-3);
    Check<__nv_bfloat16, float>(shape, true, false, 1e-5);
    Check<__nv_bfloat16, __nv_bfloat16>(shape, false, true, 4e-3);
  }
}

TEST_P(MatmulTest, F16ProductsAreRightForAllRowCounts) {
  for (const Shape shape : {Shape{128, 256}, Shape{72, 1000}}) {
    Check<__half, __half>(shape, false, false, 6e-4);
    Check<__half, float>(shape, false, false, 1e-5);
    Check<__half, float>(shape, true, false, 1e-5);
  }
}

TEST_P(MatmulTest, ShapesThatNoVectorFitsAreRight) {
  for (const Shape shape : {Shape{1, 1}, Shape{3, 7}, Shape{77, 90}, Shape{301, 33}, Shape{65, 66}}) {
    Check<__nv_bfloat16, float>(shape, false, false, 1e-5);
    Check<__nv_bfloat16, __nv_bfloat16>(shape, false, false, 4e-3);
  }
}

TEST_P(MatmulTest, ABatchInvariantRowHasTheSameBitsForEveryNumberOfRows) {
  for (const Shape shape : {Shape{128, 256}, Shape{4096, 2048}, Shape{2048, 8192}}) {
    const std::unique_ptr<Matmul> matmul = Make(true);
    ASSERT_NE(matmul, nullptr);
    const size_t outs = static_cast<size_t>(kMaxRows) * static_cast<size_t>(shape.outputs);
    const DeviceBuffer<__nv_bfloat16> x(
        RandomValues<__nv_bfloat16>(static_cast<size_t>(kMaxRows) * shape.columns, 1.0f, 1));
    const DeviceBuffer<__nv_bfloat16> weight(
        RandomValues<__nv_bfloat16>(static_cast<size_t>(shape.outputs) * shape.columns, 0.02f, 2));
    DeviceBuffer<float> out(outs);
    MatmulShape plan;
    plan.out_type = ElementType::kF32;
    plan.outputs = shape.outputs;
    plan.columns = shape.columns;
    plan.out_stride = shape.outputs;
    plan.weight_align = 256;
    plan.out_align = 256;
    plan.max_rows = kMaxRows;
    const auto index = matmul->Prepare(plan, launch_, x.get(), weight.get(), out.get());
    ASSERT_TRUE(index.ok()) << index.status();
    std::vector<float> first;
    for (const int32_t rows : {1, 2, 5, 16, 17, 63, 64, 100, 299, 300}) {
      out.Poison();
      ASSERT_TRUE(matmul->Run(*index, launch_, x.get(), weight.get(), rows, out.get()).ok());
      ASSERT_CUDA(cudaStreamSynchronize(stream_));
      const std::vector<float> all = out.Read();
      const std::vector<float> row(all.begin(), all.begin() + shape.outputs);
      if (first.empty()) first = row;
      EXPECT_EQ(row, first) << rows << " rows";
    }
    // Whichever place the row has.
    const std::vector<float> all = out.Read();
    out.Poison();
    ASSERT_TRUE(matmul
                    ->Run(*index, launch_, x.get() + static_cast<int64_t>(256) * shape.columns, weight.get(),
                          1, out.get())
                    .ok());
    ASSERT_CUDA(cudaStreamSynchronize(stream_));
    const std::vector<float> alone = out.Read();
    EXPECT_TRUE(std::equal(alone.begin(), alone.begin() + shape.outputs,
                           all.begin() + static_cast<int64_t>(256) * shape.outputs));
  }
}

TEST_P(MatmulTest, OfTwoShapesThatAreAlikeOneIsPlanned) {
  const std::unique_ptr<Matmul> matmul = Make(false);
  ASSERT_NE(matmul, nullptr);
  const DeviceBuffer<__nv_bfloat16> x(RandomValues<__nv_bfloat16>(8 * 64, 1.0f, 1));
  const DeviceBuffer<__nv_bfloat16> weight(RandomValues<__nv_bfloat16>(64 * 64, 1.0f, 1));
  DeviceBuffer<float> out(8 * 64);
  MatmulShape plan;
  plan.out_type = ElementType::kF32;
  plan.outputs = 64;
  plan.columns = 64;
  plan.out_stride = 64;
  plan.weight_align = 256;
  plan.out_align = 256;
  plan.max_rows = 8;
  const auto first = matmul->Prepare(plan, launch_, x.get(), weight.get(), out.get());
  const auto second = matmul->Prepare(plan, launch_, x.get(), weight.get(), out.get());
  plan.accumulate = true;
  const auto third = matmul->Prepare(plan, launch_, x.get(), weight.get(), out.get());
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  EXPECT_EQ(*first, *second);
  EXPECT_NE(*first, *third);
  EXPECT_EQ(matmul->planned(*first) > 0, GetParam());
  EXPECT_FALSE(matmul->Run(*first, launch_, x.get(), weight.get(), 9, out.get()).ok());
}

INSTANTIATE_TEST_SUITE_P(Products, MatmulTest, ::testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "library" : "own"); });

}  // namespace
}  // namespace tessera::gpu

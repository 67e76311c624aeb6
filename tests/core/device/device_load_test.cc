// Weights on their way to a device: their bytes, their order, and what is left when something fails.
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/base/status.h"
#include "core/cpu/kernels/linear/linear.h"
#include "core/cpu/reference/reference_backend.h"
#include "core/device/convert.h"
#include "tests/core/device/device_rig.h"
#include "tests/doubles/fake_file.h"

namespace tessera {
namespace {

using LoadedModelPtr = absl::StatusOr<std::shared_ptr<const LoadedModel>>;

LoadedModelPtr Load(const std::shared_ptr<const RandomAccessFile>& file, int32_t threads,
                    LoadProgress* progress = nullptr) {
  const std::unique_ptr<Backend> backend = MakeDeviceBackend(OpenSimulated());
  return LoadModel(file, *backend, SystemMemory(), progress, nullptr, threads);
}

double Bf16Value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

// Half a unit of the last of eight bits.
void ExpectNearest(double expected, uint16_t bits) {
  int exponent = 0;
  std::frexp(expected, &exponent);
  ASSERT_LE(std::abs(Bf16Value(bits) - expected), std::ldexp(0.5, exponent - 8)) << expected;
}

TEST(ConvertElements, RoundsEveryTypeToTheNearestBf16) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kQ4_0, TensorType::kQ4_1,
                                TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kQ6_K}) {
    const TinyModel tiny = BuildTinyModel(TinyOptionsOfType(type));
    const auto file = *GgufFile::Read(FileOf(tiny.bytes));
    const ModelSpec spec = *ReadModelSpec(*file);
    const TensorSpec& tensor = spec.tensors[static_cast<size_t>(spec.layers[0].down)];
    ASSERT_EQ(tensor.type, type);
    const int64_t count = tensor.rows * tensor.columns;
    std::vector<uint16_t> out(static_cast<size_t>(count), 0x7fc0);  // NaN
    ConvertElements(type, tiny.bytes.data() + tensor.file_offset, count, TensorType::kBF16, out.data());
    const std::vector<float>& values = tiny.tensors.at(tensor.name).values;
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NO_FATAL_FAILURE(ExpectNearest(values[i], out[i]));
  }
}

TEST(ConvertElements, TiesGoToEvenAndWhatIsNoNumberStaysNone) {
  const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x7f800000, 0xff800000,
                           0x7f800001, 0x7f7fffff, 0x80000000};
  const uint16_t expected[] = {0x3f80, 0x3f82, 0x7f80, 0xff80, 0x7fc0, 0x7f80, 0x8000};
  float values[7];
  std::memcpy(values, bits, sizeof(bits));
  uint16_t out[7];
  ConvertElements(TensorType::kF32, values, 7, TensorType::kBF16, out);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(out[i], expected[i]) << i;
}

// Every tensor on the device against the file's values.
void ExpectWeights(const TinyModel& tiny, const LoadedModel& model) {
  for (size_t i = 0; i < model.spec.tensors.size(); ++i) {
    const TensorSpec& tensor = model.spec.tensors[i];
    const WeightView view = *model.weights->Acquire(static_cast<TensorId>(i));
    const std::vector<float>& values = tiny.tensors.at(tensor.name).values;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % 64, 0u);
    if (tensor.rows == 1) {
      ASSERT_EQ(view.type, TensorType::kF32);
      ASSERT_EQ(std::memcmp(view.data, values.data(), values.size() * 4), 0) << tensor.name;
      continue;
    }
    ASSERT_EQ(view.type, tensor.type == TensorType::kF16 ? TensorType::kF16 : TensorType::kBF16);
    std::vector<float> row(static_cast<size_t>(tensor.columns));
    for (int64_t r = 0; r < tensor.rows; ++r) {
      const auto* const at = static_cast<const uint16_t*>(view.data) + r * tensor.columns;
      cpu::DequantizeReference(view.type, at, tensor.columns, row.data());
      for (int64_t c = 0; c < tensor.columns; ++c) {
        const float value = values[static_cast<size_t>(r * tensor.columns + c)];
        if (tensor.type == view.type) {
          ASSERT_EQ(row[static_cast<size_t>(c)], value) << tensor.name;
        } else {
          ASSERT_NO_FATAL_FAILURE(ExpectNearest(value, at[c]));
        }
      }
    }
  }
}

TEST_F(DeviceTest, HoldsEveryTensorOfTheFileHoweverItIsReadAndByAnyNumberOfThreads) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ8_0,
                                TensorType::kQ4_K, TensorType::kQ6_K}) {
    const TinyModel tiny = BuildTinyModel(ExactModel(type));
    for (const int32_t threads : {0, 1, 5}) {
      for (const bool lent : {true, false}) {
        const auto file = lent ? FileOf(tiny.bytes) : std::make_shared<FakeFile>(tiny.bytes);
        const LoadedModelPtr model = Load(file, threads);
        ASSERT_TRUE(model.ok()) << model.status();
        ASSERT_NO_FATAL_FAILURE(ExpectWeights(tiny, **model));
      }
    }
  }
}

TEST_F(DeviceTest, LaysQueryKeyAndValueAndGateAndUpSideBySide) {
  const LoadedModelPtr model = Load(FileOf(MakeTinyModel(ExactModel(TensorType::kBF16))), 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto end = [](const WeightView& view) {
    const size_t element = view.rows == 1 ? 4 : 2;
    return static_cast<const uint8_t*>(view.data) + static_cast<size_t>(view.rows * view.columns) * element;
  };
  const auto view = [&](TensorId tensor) { return *(*model)->weights->Acquire(tensor); };
  for (const LayerSpec& layer : (*model)->spec.layers) {
    EXPECT_EQ(end(view(layer.query)), view(layer.key).data);
    EXPECT_EQ(end(view(layer.key)), view(layer.value).data);
    EXPECT_EQ(end(view(layer.query_bias)), view(layer.key_bias).data);
    EXPECT_EQ(end(view(layer.gate)), view(layer.up).data);
  }
}

TEST_F(DeviceTest, LoadsUnderTheSameHashAsAnyOtherBackend) {
  const std::vector<uint8_t> bytes = MakeTinyModel(ExactModel(TensorType::kQ8_0));
  const auto reference = LoadModel(FileOf(bytes), *MakeReferenceBackend(), SystemMemory(), nullptr);
  ASSERT_TRUE(reference.ok());
  for (const int32_t threads : {1, 2, 7}) {
    const LoadedModelPtr model = Load(FileOf(bytes), threads);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->hash, (*reference)->hash);
  }
}

TEST_F(DeviceTest, LeavesNothingWhenAnyCallOfTheLoadFails) {
  const std::vector<uint8_t> bytes = MakeTinyModel(ExactModel(TensorType::kBF16));
  ASSERT_TRUE(Load(FileOf(bytes), 1).ok());
  const int64_t calls = simulation.calls();
  ASSERT_GT(calls, 20);
  for (const bool sticky : {false, true}) {
    for (int64_t call = 2; call <= calls; ++call) {  // the first opens the device
      ASSERT_TRUE(simulation.Reset());
      simulation.FailCall(call, sticky);
      const std::shared_ptr<const RandomAccessFile> file =
          call % 2 == 0 ? FileOf(bytes) : std::make_shared<FakeFile>(bytes);
      const LoadedModelPtr model = Load(file, call % 3 == 0 ? 4 : 1);
      ASSERT_FALSE(model.ok()) << call;
      EXPECT_EQ(simulation.live_bytes(), 0u);
      EXPECT_EQ(simulation.pieces_out(), 0);
      EXPECT_EQ(simulation.live_devices(), 0);
    }
  }
}

TEST_F(DeviceTest, LeavesNothingWhenAReadFails) {
  const std::vector<uint8_t> bytes = MakeTinyModel(ExactModel(TensorType::kBF16));
  auto counted = std::make_shared<FakeFile>(bytes);
  ASSERT_TRUE(Load(counted, 1).ok());
  for (int64_t read = 0; read < counted->reads(); ++read) {
    auto file = std::make_shared<FakeFile>(bytes);
    file->FailRead(read, true);
    EXPECT_EQ(CodeOf(Load(file, 3).status()), ErrorCode::kIoError) << read;
    EXPECT_EQ(simulation.live_bytes(), 0u);
    EXPECT_EQ(simulation.pieces_out(), 0);
  }
}

TEST_F(DeviceTest, WithoutRoomForTheWeightsNamesTheBytes) {
  simulation.SetMemory(1000);
  const absl::Status status = Load(FileOf(MakeTinyModel(ExactModel(TensorType::kBF16))), 1).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kOutOfMemory);
  EXPECT_EQ(PlaceOf(status), "weights");
  EXPECT_NE(status.message().find("of 1000 are free"), absl::string_view::npos) << status;
}

class EndingProgress final : public LoadProgress {
 public:
  bool OnProgress(uint64_t done, uint64_t total) noexcept override {
    ++calls;
    last = done == total;
    return false;
  }
  int calls = 0;
  bool last = false;
};

TEST_F(DeviceTest, LeavesNothingOfALoadThatTheHostEnds) {
  EndingProgress progress;
  const LoadedModelPtr model = Load(FileOf(MakeTinyModel(ExactModel(TensorType::kBF16))), 2, &progress);
  EXPECT_EQ(CodeOf(model.status()), ErrorCode::kCancelled);
  EXPECT_EQ(progress.calls, 1);
  EXPECT_TRUE(progress.last);
  EXPECT_EQ(simulation.live_bytes(), 0u);
}

}  // namespace
}  // namespace tessera

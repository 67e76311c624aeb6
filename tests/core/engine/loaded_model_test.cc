// Loading: every byte passes through one staging buffer, and whatever goes wrong on the way is an error.
#include "core/engine/loaded_model.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/doubles/failing_memory.h"
#include "tests/doubles/fake_file.h"
#include "tests/doubles/simulated_backend.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

// Lays weights out as the file has them, and notes in which pieces they came.
class CopyingBackend final : public Backend {
 public:
  const char* name() const override { return "copying"; }
  size_t PackedBytes(TensorType, int64_t rows, int64_t columns) const override {
    return static_cast<size_t>(rows * columns) * sizeof(float);
  }
  int64_t PackRows() const override { return 4; }
  absl::Status Pack(TensorType, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
                    const void* source, void* packed) const override {
    EXPECT_EQ(first_row % PackRows(), 0);
    EXPECT_LE(first_row + row_count, rows);
    const size_t row_bytes = static_cast<size_t>(columns) * sizeof(float);
    std::memcpy(static_cast<uint8_t*>(packed) + static_cast<size_t>(first_row) * row_bytes, source,
                static_cast<size_t>(row_count) * row_bytes);
    return absl::OkStatus();
  }
  absl::StatusOr<ContextMemory> PlanContext(const ModelSpec&, const BackendLimits&) const override {
    return Unsupported("copying backend", "it computes nothing");
  }
  absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec&, const BackendLimits&,
                                                                const Residency*,
                                                                MemorySource*) const override {
    return Unsupported("copying backend", "it computes nothing");
  }
};

class NotingProgress final : public LoadProgress {
 public:
  bool OnProgress(uint64_t done_bytes, uint64_t total_bytes) noexcept override {
    done.push_back(done_bytes);
    total = total_bytes;
    return go_on;
  }
  std::vector<uint64_t> done;
  uint64_t total = 0;
  bool go_on = true;
};

TinyModel Tiny() {
  TinyModelOptions options;
  options.hidden = options.feed_forward = 32;
  options.head_size = 16;
  return BuildTinyModel(options);
}

TEST(LoadedModel, HoldsEveryTensorOfTheFileInTheBackendsLayout) {
  const TinyModel tiny = Tiny();
  NotingProgress progress;
  const auto model = LoadModel(FileOf(tiny.bytes), CopyingBackend(), SystemMemory(), &progress);
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (size_t i = 0; i < (*model)->spec.tensors.size(); ++i) {
    const TensorSpec& tensor = (*model)->spec.tensors[i];
    const WeightView view = *(*model)->weights->Acquire(static_cast<TensorId>(i));
    const std::vector<float>& expected = tiny.tensors.at(tensor.name).values;
    ASSERT_EQ(static_cast<size_t>(view.rows * view.columns), expected.size()) << tensor.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % 64, 0u);
    EXPECT_EQ(std::memcmp(view.data, expected.data(), expected.size() * sizeof(float)), 0) << tensor.name;
  }
  EXPECT_EQ((*model)->weights->Acquire(kNoTensor)->data, nullptr);
  ASSERT_FALSE(progress.done.empty());
  EXPECT_EQ(progress.done.back(), progress.total);
}

TEST(LoadedModel, ReadFromAFileThatLendsNothingIsTheSame) {
  const TinyModel tiny = Tiny();
  const auto lent = LoadModel(FileOf(tiny.bytes), CopyingBackend(), SystemMemory(), nullptr);
  const auto read =
      LoadModel(std::make_shared<FakeFile>(tiny.bytes), CopyingBackend(), SystemMemory(), nullptr);
  ASSERT_TRUE(lent.ok() && read.ok());
  ASSERT_EQ((*lent)->weights->size_bytes(), (*read)->weights->size_bytes());
  const void* const one = (*lent)->weights->Acquire(0)->data;
  const void* const two = (*read)->weights->Acquire(0)->data;
  EXPECT_EQ(std::memcmp(one, two, (*lent)->weights->size_bytes()), 0);
}

TEST(LoadedModel, ReadByManyThreadsIsTheSameAndEndsItsProgressOnce) {
  TinyModelOptions options;
  options.hidden = 512;
  options.feed_forward = 2304;  // more than one run of rows in each of its matrices
  options.layers = 3;
  const TinyModel tiny = BuildTinyModel(options);
  const auto file = std::make_shared<FakeFile>(tiny.bytes);
  NotingProgress one_told, many_told;
  const auto one = LoadModel(file, CopyingBackend(), SystemMemory(), &one_told, nullptr, 1);
  const auto many = LoadModel(file, CopyingBackend(), SystemMemory(), &many_told, nullptr, 6);
  ASSERT_TRUE(one.ok() && many.ok());
  EXPECT_EQ((*one)->hash, (*many)->hash);
  for (size_t i = 0; i < (*one)->spec.tensors.size(); ++i) {
    const TensorSpec& tensor = (*one)->spec.tensors[i];
    const auto bytes = static_cast<size_t>(tensor.rows * tensor.columns) * sizeof(float);
    const WeightView a = *(*one)->weights->Acquire(static_cast<TensorId>(i));
    const WeightView b = *(*many)->weights->Acquire(static_cast<TensorId>(i));
    EXPECT_EQ(std::memcmp(a.data, b.data, bytes), 0) << tensor.name;
  }
  EXPECT_EQ(many_told.done, one_told.done);
  EXPECT_EQ(many_told.done, std::vector<uint64_t>{many_told.total});
}

std::shared_ptr<const LoadedModel> LoadedFrom(const std::vector<uint8_t>& bytes) {
  const auto model = LoadModel(FileOf(bytes), CopyingBackend(), SystemMemory(), nullptr);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? *model : nullptr;
}

TEST(LoadedModel, ItsHashChangesWithAnyByteOfItsWeights) {
  const std::vector<uint8_t> bytes = Tiny().bytes;
  const auto model = LoadedFrom(bytes);
  EXPECT_EQ(LoadedFrom(bytes)->hash, model->hash);
  for (const TensorSpec& tensor : model->spec.tensors) {
    for (const uint64_t at : {uint64_t{0}, tensor.size_bytes / 2, tensor.size_bytes - 1}) {
      std::vector<uint8_t> changed = bytes;
      changed[tensor.file_offset + at] ^= 1;
      EXPECT_NE(LoadedFrom(changed)->hash, model->hash) << tensor.name << " " << at;
      EXPECT_EQ(LoadedFrom(changed)->tokenizer_hash, model->tokenizer_hash);
    }
  }
}

TEST(LoadedModel, ItsHashesChangeWithWhatMattersAndNotWithNames) {
  const TinyModel tiny = Tiny();
  const auto model = LoadedFrom(tiny.bytes);
  GgufWriter named = tiny.writer, shaped = tiny.writer, split = tiny.writer;
  named.Remove("general.name").String("general.name", "another name");
  named.Remove("tokenizer.chat_template").String("tokenizer.chat_template", "{{ messages }}");
  shaped.Remove("llama.attention.layer_norm_rms_epsilon")
      .Float32("llama.attention.layer_norm_rms_epsilon", 2e-5f);
  split.Remove("tokenizer.ggml.pre").String("tokenizer.ggml.pre", "gpt-2");

  EXPECT_EQ(LoadedFrom(named.Build())->hash, model->hash);
  EXPECT_EQ(LoadedFrom(named.Build())->tokenizer_hash, model->tokenizer_hash);
  EXPECT_NE(LoadedFrom(shaped.Build())->hash, model->hash);
  EXPECT_EQ(LoadedFrom(shaped.Build())->tokenizer_hash, model->tokenizer_hash);
  EXPECT_EQ(LoadedFrom(split.Build())->hash, model->hash);
  EXPECT_NE(LoadedFrom(split.Build())->tokenizer_hash, model->tokenizer_hash);
}

// Each rank's tensors against the file's values.
void ExpectSlices(const TinyModel& tiny, const ShardRequest& request,
                  std::shared_ptr<const RandomAccessFile> file) {
  const auto parsed = GgufFile::Read(FileOf(tiny.bytes));
  const absl::StatusOr<ModelSpec> whole = ReadModelSpec(**parsed);
  const absl::StatusOr<ShardPlan> plan = PlanShard(*whole, request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  NotingProgress progress;
  const auto model = LoadModel(std::move(file), CopyingBackend(), SystemMemory(), &progress, &request);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ((*model)->spec.tensors.size(), plan->slices.size());
  uint64_t bytes = 0;
  for (size_t i = 0; i < plan->slices.size(); ++i) {
    const TensorSpec& tensor = (*model)->spec.tensors[i];
    const TensorSlice& slice = plan->slices[i];
    const WeightView view = *(*model)->weights->Acquire(static_cast<TensorId>(i));
    const TinyTensor& from = tiny.tensors.at(tensor.name);
    ASSERT_EQ(view.rows, tensor.rows);
    ASSERT_EQ(view.columns, tensor.columns);
    bytes += tensor.size_bytes;
    for (int64_t row = 0; row < view.rows; ++row) {
      const int64_t first = (slice.first_row + row) * from.columns + slice.first_column;
      const float* const got = static_cast<const float*>(view.data) + row * view.columns;
      ASSERT_EQ(
          std::memcmp(got, from.values.data() + first, static_cast<size_t>(view.columns) * sizeof(float)), 0)
          << tensor.name << ", row " << row;
    }
  }
  EXPECT_EQ(progress.done.back(), bytes);
  EXPECT_EQ(progress.total, bytes);
}

TEST(LoadedModel, AShardHoldsItsSlicesHoweverTheFileIsRead) {
  TinyModelOptions options;
  options.layers = 3;
  options.heads = options.kv_heads = 6;
  options.head_size = 16;
  options.feed_forward = 1000;
  options.qkv_bias = options.output_bias = true;
  options.tied_head = false;
  const TinyModel tiny = BuildTinyModel(options);
  for (const int32_t ranks : {1, 2, 3, 8}) {
    for (int32_t rank = 0; rank < ranks; ++rank) {
      const ShardRequest request{rank, ranks, {}, rank % 2, 3};
      ASSERT_NO_FATAL_FAILURE(ExpectSlices(tiny, request, FileOf(tiny.bytes)));
      ASSERT_NO_FATAL_FAILURE(ExpectSlices(tiny, request, std::make_shared<FakeFile>(tiny.bytes)));
    }
  }
}

TEST(LoadedModel, AShardReadsWideRowsByTheirPartsAndNothingElse) {
  TinyModelOptions options;
  options.layers = 1;
  options.hidden = 32;
  options.head_size = 16;
  options.feed_forward = 34816;  // half a row is 68 KiB
  const TinyModel tiny = BuildTinyModel(options);
  auto header = std::make_shared<FakeFile>(tiny.bytes);
  ASSERT_TRUE(GgufFile::Read(header).ok());
  for (int32_t rank = 0; rank < 2; ++rank) {
    auto file = std::make_shared<FakeFile>(tiny.bytes);
    const ShardRequest request{rank, 2, {}, 0, -1};
    ASSERT_NO_FATAL_FAILURE(ExpectSlices(tiny, request, file));
    const auto model = LoadModel(FileOf(tiny.bytes), CopyingBackend(), SystemMemory(), nullptr, &request);
    uint64_t bytes = header->bytes_read();
    for (const TensorSpec& tensor : (*model)->spec.tensors) bytes += tensor.size_bytes;
    // What lies between the short rows of the output projection is read along: 64 rows' halves at most.
    EXPECT_GE(file->bytes_read(), bytes);
    EXPECT_LE(file->bytes_read(), bytes + 64 * 64);
  }
}

TEST(LoadedModel, AnyReadThatFailsFailsTheLoadAndNothingIsLeft) {
  const TinyModel tiny = Tiny();
  auto counted = std::make_shared<FakeFile>(tiny.bytes);
  ASSERT_TRUE(LoadModel(counted, CopyingBackend(), SystemMemory(), nullptr).ok());
  for (int64_t read = 0; read < counted->reads(); ++read) {
    FailingMemory memory;
    auto file = std::make_shared<FakeFile>(tiny.bytes);
    file->FailRead(read);
    const auto model = LoadModel(file, CopyingBackend(), &memory, nullptr);
    EXPECT_EQ(CodeOf(model.status()), ErrorCode::kIoError) << read;
    EXPECT_EQ(memory.live_bytes(), 0u);
  }
}

TEST(LoadedModel, WithoutMemoryForTheWeightsIsAnError) {
  FailingMemory memory;
  memory.FailAt(1);
  const auto model = LoadModel(FileOf(Tiny().bytes), CopyingBackend(), &memory, nullptr);
  EXPECT_EQ(CodeOf(model.status()), ErrorCode::kOutOfMemory);
}

TEST(LoadedModel, TheHostMayEndTheLoad) {
  FailingMemory memory;
  NotingProgress progress;
  progress.go_on = false;
  const auto model = LoadModel(FileOf(Tiny().bytes), CopyingBackend(), &memory, &progress);
  EXPECT_EQ(CodeOf(model.status()), ErrorCode::kCancelled);
  EXPECT_EQ(progress.done.size(), 1u);
  EXPECT_EQ(memory.live_bytes(), 0u);
}

}  // namespace
}  // namespace tessera

#include "core/engine/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/base/checked.h"
#include "core/base/float_control.h"
#include "core/base/status.h"
#include "core/engine/model_hash.h"
#include "core/env/threads.h"

namespace tessera {
namespace {

constexpr uint64_t kProgressBytes = 64 << 20;
// What lies between two rows' parts is read along where it is less than this.
constexpr size_t kGapBytes = 64 << 10;

// Tensors in the order in which a step reads them, each once.
std::vector<TensorId> ReadingOrder(const ModelSpec& spec) {
  std::vector<TensorId> order;
  std::vector<bool> seen(spec.tensors.size(), false);
  const auto add = [&](TensorId tensor) {
    if (tensor == kNoTensor || seen[static_cast<size_t>(tensor)]) return;
    seen[static_cast<size_t>(tensor)] = true;
    order.push_back(tensor);
  };
  add(spec.embedding);
  for (const LayerSpec& layer : spec.layers) {
    for (const TensorId tensor : {layer.attention_norm, layer.query, layer.key, layer.value, layer.query_bias,
                                  layer.key_bias, layer.value_bias, layer.output, layer.output_bias,
                                  layer.feed_forward_norm, layer.gate, layer.up, layer.down}) {
      add(tensor);
    }
  }
  add(spec.output_norm);
  add(spec.head);
  for (size_t i = 0; i < seen.size(); ++i) add(static_cast<TensorId>(i));
  return order;
}

// Where a tensor, or a slice of one, stands in the file: rows of row_bytes, each stride_bytes after the last.
struct StoredSlice {
  const TensorSpec* tensor = nullptr;
  uint64_t offset = 0;
  uint64_t row_bytes = 0;
  uint64_t stride_bytes = 0;
  uint8_t* packed = nullptr;
};

StoredSlice SliceOf(const TensorSpec& tensor, const TensorSpec& whole, const TensorSlice& slice,
                    uint8_t* packed) {
  StoredSlice stored;
  stored.tensor = &tensor;
  stored.row_bytes = RowBytes(tensor.type, static_cast<uint64_t>(tensor.columns));
  stored.stride_bytes = RowBytes(whole.type, static_cast<uint64_t>(whole.columns));
  stored.offset = whole.file_offset + static_cast<uint64_t>(slice.first_row) * stored.stride_bytes +
                  RowBytes(whole.type, static_cast<uint64_t>(slice.first_column));
  stored.packed = packed;
  return stored;
}

// The load's work: rows of one tensor, hashed together.
struct RowRun {
  const StoredSlice* slice = nullptr;
  int64_t first_row = 0;
  int64_t row_count = 0;
  ContentHash hash;

  size_t bytes() const { return static_cast<size_t>(row_count) * static_cast<size_t>(slice->row_bytes); }
};

// Memory of the backend's for one PackStage; given back where there is none.
class Stage {
 public:
  explicit Stage(const Backend& backend) : backend_(backend) {}
  ~Stage() {
    if (data_ != nullptr) backend_.ReturnStage(data_);
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  absl::Status Borrow(const TensorSpec& tensor, size_t source_bytes) {
    TSR_ASSIGN_OR_RETURN(data_, backend_.BorrowStage(tensor.type, tensor.rows, source_bytes));
    return absl::OkStatus();
  }
  void* data() const { return data_; }
  void* PassOn() { return std::exchange(data_, nullptr); }

 private:
  const Backend& backend_;
  void* data_ = nullptr;
};

class WeightReader final : public PauseSource {
 public:
  WeightReader(const RandomAccessFile& file, const Backend& backend, LoadProgress* progress,
               uint64_t total_bytes, int threads)
      : file_(file),
        backend_(backend),
        progress_(progress),
        total_bytes_(total_bytes),
        staging_(static_cast<size_t>(threads)) {}

  absl::Status Read(ThreadPool& pool, std::vector<RowRun>& runs) {
    auto task = [&](int64_t index, int worker) noexcept {
      if (ShouldPause()) return;
      try {
        absl::Status status =
            ReadRun(runs[static_cast<size_t>(index)], staging_[static_cast<size_t>(worker)]);
        if (!status.ok()) Fail(std::move(status));
      } catch (...) {  // of memory, or of sizes that no container can have
        Fail(BareError(ErrorCode::kOutOfMemory));
      }
    };
    pool.ParallelForSome(static_cast<int64_t>(runs.size()), task, this);
    absl::Status finished = backend_.FinishPacking();  // also after a failure: nothing is written any more
    if (failed_.load()) return std::move(failure_);
    TSR_RETURN_IF_ERROR(finished);
    return progress_ != nullptr && !progress_->OnProgress(total_bytes_, total_bytes_) ? Ended()
                                                                                      : absl::OkStatus();
  }

  bool ShouldPause() noexcept override { return failed_.load(std::memory_order_relaxed); }

 private:
  using Staging = std::vector<uint8_t>;

  absl::Status ReadRun(RowRun& run, Staging& staging) {
    const TensorSpec& tensor = *run.slice->tensor;
    Stage stage(backend_);
    TSR_ASSIGN_OR_RETURN(const void* const source, Rows(run, &stage, staging));
    run.hash = HashOf(source, run.bytes());
    {
      const ScopedFloatControl float_control;  // weights are converted here
      uint8_t* const packed = run.slice->packed;
      TSR_RETURN_IF_ERROR(stage.data() != nullptr
                              ? backend_.PackStage(tensor.type, tensor.rows, tensor.columns, run.first_row,
                                                   run.row_count, stage.PassOn(), packed)
                              : backend_.Pack(tensor.type, tensor.rows, tensor.columns, run.first_row,
                                              run.row_count, source, packed));
    }
    return Advance(run.bytes());
  }

  // The run's rows, one after the other; valid until the worker's next call.
  absl::StatusOr<const void*> Rows(const RowRun& run, Stage* stage, Staging& staging) {
    const StoredSlice& slice = *run.slice;
    const auto count = static_cast<size_t>(run.row_count);
    const uint64_t offset = slice.offset + static_cast<uint64_t>(run.first_row) * slice.stride_bytes;
    const size_t span = static_cast<size_t>((count - 1) * slice.stride_bytes + slice.row_bytes);
    const auto stride = static_cast<size_t>(slice.stride_bytes);
    const auto row_bytes = static_cast<size_t>(slice.row_bytes);
    const bool whole_rows = row_bytes == stride;
    const uint8_t* source = file_.Borrow(offset, span);
    if (source != nullptr && whole_rows) return source;
    if (whole_rows) {
      TSR_RETURN_IF_ERROR(stage->Borrow(*slice.tensor, span));
      if (stage->data() != nullptr) {
        TSR_RETURN_IF_ERROR(file_.ReadAt(offset, stage->data(), span));
        return stage->data();
      }
    }
    const bool apart = source == nullptr && stride - row_bytes >= kGapBytes;
    const size_t needed = source != nullptr || apart ? count * row_bytes : span;
    if (staging.size() < needed) staging.resize(needed);
    if (apart) {
      for (size_t i = 0; i < count; ++i) {
        TSR_RETURN_IF_ERROR(file_.ReadAt(offset + i * stride, staging.data() + i * row_bytes, row_bytes));
      }
      return staging.data();
    }
    if (source == nullptr) {
      TSR_RETURN_IF_ERROR(file_.ReadAt(offset, staging.data(), span));
      if (whole_rows) return staging.data();
      source = staging.data();
    }
    for (size_t i = 0; i < count; ++i) {  // a row moves to the front, at most over itself
      std::memmove(staging.data() + i * row_bytes, source + i * stride, row_bytes);
    }
    return staging.data();
  }

  // Whoever passes a mark tells, unless another thread is telling: that one then tells of this too. The end
  // is told when everything is where it belongs.
  absl::Status Advance(uint64_t bytes) {
    done_bytes_.fetch_add(bytes);
    while (progress_ != nullptr) {
      const uint64_t done = done_bytes_.load();
      if (done == total_bytes_ || done - told_bytes_.load() < kProgressBytes) break;
      if (telling_.exchange(true)) break;
      const bool go_on = progress_->OnProgress(done, total_bytes_);
      told_bytes_.store(done);
      telling_.store(false);
      if (!go_on) return Ended();
    }
    return absl::OkStatus();
  }

  absl::Status Ended() const { return Cancelled(file_.name(), "the host ended the load"); }

  void Fail(absl::Status status) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failed_.load()) return;
    failure_ = std::move(status);
    failed_.store(true);
  }

  const RandomAccessFile& file_;
  const Backend& backend_;
  LoadProgress* const progress_;
  const uint64_t total_bytes_;
  std::vector<Staging> staging_;  // [worker]
  std::atomic<uint64_t> done_bytes_{0};
  std::atomic<uint64_t> told_bytes_{0};
  std::atomic<bool> telling_{false};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;      // guards `failure_`
  absl::Status failure_;  // the first
};

std::vector<RowRun> CutIntoRuns(const std::vector<StoredSlice>& slices) {
  std::vector<RowRun> runs;
  for (const StoredSlice& slice : slices) {
    const TensorSpec& tensor = *slice.tensor;
    if (tensor.size_bytes == 0) continue;
    const int64_t rows_at_once = HashedRows(slice.row_bytes);
    for (int64_t row = 0; row < tensor.rows; row += rows_at_once) {
      runs.push_back({&slice, row, std::min(rows_at_once, tensor.rows - row), {}});
    }
  }
  return runs;
}

void AddHashes(const std::vector<StoredSlice>& slices, const std::vector<RowRun>& runs,
               ContentHasher* hasher) {
  auto run = runs.begin();
  for (const StoredSlice& slice : slices) {
    AddTensor(*slice.tensor, hasher);
    for (; run != runs.end() && run->slice == &slice; ++run) hasher->Add(run->hash.bytes.data(), 16);
  }
}

// Without threads to be had, this one reads all.
absl::StatusOr<std::unique_ptr<ThreadPool>> MakePool(int threads) {
  absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(threads);
  return pool.ok() || threads == 1 ? std::move(pool) : ThreadPool::Create(1);
}

}  // namespace

absl::StatusOr<WeightLayout> LayWeights(const ModelSpec& spec, const Backend& backend) {
  WeightLayout layout;
  layout.offsets.resize(spec.tensors.size());
  for (const TensorId id : ReadingOrder(spec)) {
    const TensorSpec& tensor = spec.tensors[static_cast<size_t>(id)];
    const std::optional<uint64_t> at = CheckedAlignUp(layout.packed_bytes, backend.PackAlignment());
    const std::optional<uint64_t> end =
        at ? CheckedAdd(*at, backend.PackedBytes(tensor.type, tensor.rows, tensor.columns)) : std::nullopt;
    if (!end) return Corrupt(tensor.name, "the weights together exceed the address space");
    layout.offsets[static_cast<size_t>(id)] = *at;
    layout.packed_bytes = *end;
    layout.file_bytes += tensor.size_bytes;
  }
  return layout;
}

absl::StatusOr<std::unique_ptr<const ResidentWeights>> LoadWeights(const WeightSource& source,
                                                                   const Backend& backend,
                                                                   MemorySource* memory, int32_t threads,
                                                                   LoadProgress* progress,
                                                                   ContentHasher* hasher) {
  const ModelSpec& spec = source.plan.spec;
  TSR_ASSIGN_OR_RETURN(const WeightLayout layout, LayWeights(spec, backend));
  const std::shared_ptr<MemorySource> own = backend.memory();
  TSR_ASSIGN_OR_RETURN(MemoryRegion region,
                       MemoryRegion::Create(own != nullptr ? own.get() : memory, MemoryClass::kWeights,
                                            layout.packed_bytes, "weights"));
  std::vector<StoredSlice> slices;
  std::vector<WeightView> views;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const TensorSpec& tensor = spec.tensors[i];
    uint8_t* const packed = region.data() + layout.offsets[i];
    const TensorSlice& slice = source.plan.slices[i];
    const TensorSpec& from = source.whole.tensors[static_cast<size_t>(slice.whole)];
    slices.push_back(SliceOf(tensor, from, slice, packed));
    views.push_back({packed, backend.PackedType(tensor.type, tensor.rows), tensor.rows, tensor.columns});
  }
  std::vector<RowRun> runs = CutIntoRuns(slices);
  if (threads == 0) threads = backend.PackThreads();
  threads = std::clamp<int32_t>(threads, 1, std::max(1, static_cast<int32_t>(runs.size())));
  TSR_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, MakePool(threads));
  WeightReader reader(source.file, backend, progress, layout.file_bytes, pool->threads());
  TSR_RETURN_IF_ERROR(reader.Read(*pool, runs));
  AddHashes(slices, runs, hasher);
  return std::make_unique<const ResidentWeights>(std::move(region), std::move(views));
}

}  // namespace tessera

#include "core/engine/loaded_model.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "core/base/checked.h"
#include "core/base/float_control.h"
#include "core/base/status.h"
#include "core/engine/model_hash.h"
#include "core/ranks/rank_shard.h"

namespace tessera {
namespace {

constexpr uint64_t kStagingBytes = 8 << 20;
constexpr uint64_t kProgressBytes = 64 << 20;
constexpr size_t kTensorAlignment = 64;
// What lies between two rows' parts is read along where it is less than this.
constexpr size_t kGapBytes = 64 << 10;

// Where a tensor, or a slice of one, stands in the file: rows of row_bytes, each stride_bytes after the last.
struct StoredSlice {
  const TensorSpec* tensor = nullptr;
  uint64_t offset = 0;
  uint64_t row_bytes = 0;
  uint64_t stride_bytes = 0;
};

StoredSlice SliceOf(const TensorSpec& tensor, const TensorSpec& whole, const TensorSlice& slice) {
  StoredSlice stored;
  stored.tensor = &tensor;
  stored.row_bytes = RowBytes(tensor.type, static_cast<uint64_t>(tensor.columns));
  stored.stride_bytes = RowBytes(whole.type, static_cast<uint64_t>(whole.columns));
  stored.offset = whole.file_offset + static_cast<uint64_t>(slice.first_row) * stored.stride_bytes +
                  RowBytes(whole.type, static_cast<uint64_t>(slice.first_column));
  return stored;
}

class WeightReader {
 public:
  WeightReader(const RandomAccessFile& file, const Backend& backend, LoadProgress* progress,
               uint64_t total_bytes, ContentHasher* hasher)
      : file_(file), backend_(backend), progress_(progress), total_bytes_(total_bytes), hasher_(hasher) {}

  absl::Status Read(const StoredSlice& slice, uint8_t* packed) {
    const TensorSpec& tensor = *slice.tensor;
    AddTensor(tensor, hasher_);
    if (tensor.size_bytes == 0) return absl::OkStatus();
    const int64_t unit = backend_.PackRows();
    const int64_t rows_at_once =
        std::max<int64_t>(unit, static_cast<int64_t>(kStagingBytes / slice.stride_bytes) / unit * unit);
    for (int64_t row = 0; row < tensor.rows; row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, tensor.rows - row);
      TSR_ASSIGN_OR_RETURN(const void* source, Rows(slice, row, rows));
      hasher_->Add(source, static_cast<size_t>(rows) * static_cast<size_t>(slice.row_bytes));
      const ScopedFloatControl float_control;  // weights are converted here
      backend_.Pack(tensor.type, tensor.rows, tensor.columns, row, rows, source, packed);
      TSR_RETURN_IF_ERROR(Advance(static_cast<uint64_t>(rows) * slice.row_bytes));
    }
    return absl::OkStatus();
  }

 private:
  // Rows [first, first + rows) of the slice, one after the other; valid until the next call.
  absl::StatusOr<const void*> Rows(const StoredSlice& slice, int64_t first, int64_t rows) {
    const auto count = static_cast<size_t>(rows);
    const uint64_t offset = slice.offset + static_cast<uint64_t>(first) * slice.stride_bytes;
    const size_t span = static_cast<size_t>((count - 1) * slice.stride_bytes + slice.row_bytes);
    const auto stride = static_cast<size_t>(slice.stride_bytes);
    const auto row_bytes = static_cast<size_t>(slice.row_bytes);
    const uint8_t* source = file_.Borrow(offset, span);
    if (source != nullptr && row_bytes == stride) return source;
    const bool apart = source == nullptr && stride - row_bytes >= kGapBytes;
    const size_t needed = source != nullptr || apart ? count * row_bytes : span;
    if (staging_.size() < needed) staging_.resize(needed);
    if (apart) {
      for (size_t i = 0; i < count; ++i) {
        TSR_RETURN_IF_ERROR(file_.ReadAt(offset + i * stride, staging_.data() + i * row_bytes, row_bytes));
      }
      return staging_.data();
    }
    if (source == nullptr) {
      TSR_RETURN_IF_ERROR(file_.ReadAt(offset, staging_.data(), span));
      if (row_bytes == stride) return staging_.data();
      source = staging_.data();
    }
    for (size_t i = 0; i < count; ++i) {  // a row moves to the front, at most over itself
      std::memmove(staging_.data() + i * row_bytes, source + i * stride, row_bytes);
    }
    return staging_.data();
  }

  absl::Status Advance(uint64_t bytes) {
    done_bytes_ += bytes;
    const bool tell = done_bytes_ - told_bytes_ >= kProgressBytes || done_bytes_ == total_bytes_;
    if (progress_ == nullptr || !tell) return absl::OkStatus();
    told_bytes_ = done_bytes_;
    if (progress_->OnProgress(done_bytes_, total_bytes_)) return absl::OkStatus();
    return Cancelled(file_.name(), "the host ended the load");
  }

  const RandomAccessFile& file_;
  const Backend& backend_;
  LoadProgress* progress_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  uint64_t told_bytes_ = 0;
  ContentHasher* hasher_;
  std::vector<uint8_t> staging_;
};

absl::StatusOr<std::unique_ptr<const ResidentWeights>> ReadWeights(
    const RandomAccessFile& file, const ModelSpec& whole, const ShardPlan& plan, const Backend& backend,
    MemorySource* memory, LoadProgress* progress, ContentHasher* hasher) {
  const ModelSpec& spec = plan.spec;
  TSR_ASSIGN_OR_RETURN(const WeightLayout layout, LayWeights(spec, backend));
  TSR_ASSIGN_OR_RETURN(MemoryRegion region,
                       MemoryRegion::Create(memory, MemoryClass::kWeights, layout.packed_bytes, "weights"));
  WeightReader reader(file, backend, progress, layout.file_bytes, hasher);
  std::vector<WeightView> views;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const TensorSpec& tensor = spec.tensors[i];
    uint8_t* packed = region.data() + layout.offsets[i];
    const TensorSlice& slice = plan.slices[i];
    const TensorSpec& from = whole.tensors[static_cast<size_t>(slice.whole)];
    TSR_RETURN_IF_ERROR(reader.Read(SliceOf(tensor, from, slice), packed));
    views.push_back({packed, tensor.type, tensor.rows, tensor.columns});
  }
  return std::make_unique<const ResidentWeights>(std::move(region), std::move(views));
}

using Planner = std::function<absl::StatusOr<ShardPlan>(const ModelSpec& whole)>;

absl::StatusOr<std::shared_ptr<LoadedModel>> Load(std::shared_ptr<const RandomAccessFile> file,
                                                  const Backend& backend, MemorySource* memory,
                                                  LoadProgress* progress, const Planner& planner) {
  TSR_ASSIGN_OR_RETURN(ModelHeader header, ReadModelHeader(std::move(file)));
  TSR_ASSIGN_OR_RETURN(ShardPlan plan, planner(header.spec));
  auto model = std::make_shared<LoadedModel>();
  model->tokenizer_hash = HashTokenizer(*header.file);
  ContentHasher hasher;
  AddShape(*header.file, plan.spec, &hasher);
  TSR_ASSIGN_OR_RETURN(model->weights, ReadWeights(header.file->file(), header.spec, plan, backend, memory,
                                                   progress, &hasher));
  model->hash = hasher.Finish();
  model->chat_templates = ChatTemplates::Read(*header.file, *header.tokenizer);
  header.file->CloseFile();
  model->file = std::move(header.file);
  model->spec = std::move(plan.spec);
  model->tokenizer = std::move(header.tokenizer);
  return model;
}

}  // namespace

absl::StatusOr<WeightLayout> LayWeights(const ModelSpec& spec, const Backend& backend) {
  WeightLayout layout;
  for (const TensorSpec& tensor : spec.tensors) {
    const std::optional<uint64_t> at = CheckedAlignUp(layout.packed_bytes, kTensorAlignment);
    const std::optional<uint64_t> end =
        at ? CheckedAdd(*at, backend.PackedBytes(tensor.type, tensor.rows, tensor.columns)) : std::nullopt;
    if (!end) return Corrupt(tensor.name, "the weights together exceed the address space");
    layout.offsets.push_back(*at);
    layout.packed_bytes = *end;
    layout.file_bytes += tensor.size_bytes;
  }
  return layout;
}

absl::StatusOr<ModelHeader> ReadModelHeader(std::shared_ptr<const RandomAccessFile> file) {
  ModelHeader header;
  TSR_ASSIGN_OR_RETURN(header.file, GgufFile::Read(std::move(file)));
  {
    const ScopedFloatControl float_control;
    TSR_ASSIGN_OR_RETURN(header.spec, ReadModelSpec(*header.file));
  }
  TSR_ASSIGN_OR_RETURN(header.tokenizer, ReadTokenizer(*header.file, header.spec.vocabulary_size));
  return header;
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(std::shared_ptr<const RandomAccessFile> file,
                                                             const Backend& backend, MemorySource* memory,
                                                             LoadProgress* progress,
                                                             const ShardRequest* shard) {
  return Load(std::move(file), backend, memory, progress, [shard](const ModelSpec& whole) {
    return PlanShard(whole, shard != nullptr ? *shard : ShardRequest{});
  });
}

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModelForRank(
    std::shared_ptr<const RandomAccessFile> file, const Backend& backend, MemorySource* memory,
    LoadProgress* progress, const RankLayout& rank) {
  TSR_ASSIGN_OR_RETURN(std::shared_ptr<LoadedModel> model,
                       Load(std::move(file), backend, memory, progress,
                            [&rank](const ModelSpec& whole) { return PlanRank(whole, rank); }));
  model->part = rank;
  return std::shared_ptr<const LoadedModel>(std::move(model));
}

}  // namespace tessera

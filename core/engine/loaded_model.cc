#include "core/engine/loaded_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/checked.h"
#include "core/base/float_control.h"
#include "core/base/status.h"

namespace tessera {
namespace {

constexpr uint64_t kStagingBytes = 8 << 20;
constexpr uint64_t kProgressBytes = 64 << 20;
constexpr size_t kTensorAlignment = 64;

class WeightReader {
 public:
  WeightReader(const RandomAccessFile& file, const Backend& backend, LoadProgress* progress,
               uint64_t total_bytes)
      : file_(file), backend_(backend), progress_(progress), total_bytes_(total_bytes) {}

  absl::Status Read(const TensorSpec& tensor, uint8_t* packed) {
    const uint64_t row_bytes = tensor.size_bytes / static_cast<uint64_t>(tensor.rows);
    const int64_t unit = backend_.PackRows();
    const int64_t rows_at_once =
        std::max<int64_t>(unit, static_cast<int64_t>(kStagingBytes / row_bytes) / unit * unit);
    for (int64_t row = 0; row < tensor.rows; row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, tensor.rows - row);
      const uint64_t offset = tensor.file_offset + static_cast<uint64_t>(row) * row_bytes;
      const size_t bytes = static_cast<size_t>(static_cast<uint64_t>(rows) * row_bytes);
      const void* source = file_.Borrow(offset, bytes);
      if (source == nullptr) {
        if (staging_.size() < bytes) staging_.resize(bytes);
        TSR_RETURN_IF_ERROR(file_.ReadAt(offset, staging_.data(), bytes));
        source = staging_.data();
      }
      const ScopedFloatControl float_control;  // weights are converted here
      backend_.Pack(tensor.type, tensor.rows, tensor.columns, row, rows, source, packed);
      TSR_RETURN_IF_ERROR(Advance(bytes));
    }
    return absl::OkStatus();
  }

  absl::Status Advance(uint64_t bytes) {
    done_bytes_ += bytes;
    const bool tell = done_bytes_ - told_bytes_ >= kProgressBytes || done_bytes_ == total_bytes_;
    if (progress_ == nullptr || !tell) return absl::OkStatus();
    told_bytes_ = done_bytes_;
    if (progress_->OnProgress(done_bytes_, total_bytes_)) return absl::OkStatus();
    return Cancelled(file_.name(), "the host ended the load");
  }

 private:
  const RandomAccessFile& file_;
  const Backend& backend_;
  LoadProgress* progress_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  uint64_t told_bytes_ = 0;
  std::vector<uint8_t> staging_;
};

absl::StatusOr<std::unique_ptr<const ResidentWeights>> ReadWeights(const RandomAccessFile& file,
                                                                   const ModelSpec& spec,
                                                                   const Backend& backend,
                                                                   MemorySource* memory,
                                                                   LoadProgress* progress) {
  std::vector<uint64_t> offsets;
  uint64_t packed_bytes = 0;
  uint64_t file_bytes = 0;
  for (const TensorSpec& tensor : spec.tensors) {
    const std::optional<uint64_t> at = CheckedAlignUp(packed_bytes, kTensorAlignment);
    const std::optional<uint64_t> end =
        at ? CheckedAdd(*at, backend.PackedBytes(tensor.type, tensor.rows, tensor.columns)) : std::nullopt;
    if (!end) return Corrupt(tensor.name, "the weights together exceed the address space");
    offsets.push_back(*at);
    packed_bytes = *end;
    file_bytes += tensor.size_bytes;
  }
  TSR_ASSIGN_OR_RETURN(MemoryRegion region,
                       MemoryRegion::Create(memory, MemoryClass::kWeights, packed_bytes, "weights"));
  WeightReader reader(file, backend, progress, file_bytes);
  std::vector<WeightView> views;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const TensorSpec& tensor = spec.tensors[i];
    uint8_t* packed = region.data() + offsets[i];
    TSR_RETURN_IF_ERROR(reader.Read(tensor, packed));
    views.push_back({packed, tensor.type, tensor.rows, tensor.columns});
  }
  return std::make_unique<const ResidentWeights>(std::move(region), std::move(views));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadModel(std::shared_ptr<const RandomAccessFile> file,
                                                             const Backend& backend, MemorySource* memory,
                                                             LoadProgress* progress) {
  auto model = std::make_shared<LoadedModel>();
  TSR_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> gguf, GgufFile::Read(std::move(file)));
  {
    const ScopedFloatControl float_control;
    TSR_ASSIGN_OR_RETURN(model->spec, ReadModelSpec(*gguf));
  }
  TSR_ASSIGN_OR_RETURN(model->tokenizer, ReadTokenizer(*gguf, model->spec.vocabulary_size));
  model->chat_templates = ChatTemplates::Read(*gguf, *model->tokenizer);
  TSR_ASSIGN_OR_RETURN(model->weights, ReadWeights(gguf->file(), model->spec, backend, memory, progress));
  gguf->CloseFile();
  model->file = std::move(gguf);
  return std::shared_ptr<const LoadedModel>(std::move(model));
}

}  // namespace tessera

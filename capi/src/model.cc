// tsr_model: loading, metadata, text.
#include <algorithm>
#include <optional>
#include <utility>

#include "capi/src/backends.h"
#include "capi/src/devices.h"
#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "capi/src/sources.h"
#include "core/env/file.h"
#include "core/env/memory.h"

namespace tessera::capi {
namespace {

class HostProgress final : public LoadProgress {
 public:
  explicit HostProgress(const CallbackTable& table) : callbacks_(table.As<tsr_progress_callbacks>()) {}
  bool OnProgress(uint64_t done_bytes, uint64_t total_bytes) noexcept override {
    if (callbacks_.progress == nullptr) return true;
    const CallbackScope scope;
    return callbacks_.progress(callbacks_.user, done_bytes, total_bytes) == 0;
  }

 private:
  tsr_progress_callbacks callbacks_;
};

// The rank whose part is to be loaded; none: the whole model.
absl::StatusOr<std::optional<RankLayout>> RankOf(const Settings& settings) {
  RankLayout rank;
  rank.tensor_parallel = static_cast<int32_t>(settings.Int("model.tensor_parallel", 1));
  rank.pipeline = static_cast<int32_t>(settings.Int("model.pipeline", 1));
  rank.rank = static_cast<int32_t>(settings.Int("model.rank", 0));
  if (rank.rank >= rank.size()) {
    return InvalidArgument("setting 'model.rank'",
                           absl::StrCat(rank.rank, "; 'model.tensor_parallel' and 'model.pipeline' make ",
                                        rank.size(), " ranks"));
  }
  if (rank.size() == 1) return std::nullopt;
  return rank;
}

absl::StatusOr<std::unique_ptr<tsr_model>> Load(tsr_runtime* runtime, absl::StatusOr<ModelSource> file,
                                                const tsr_options* options, absl::string_view call) {
  TSR_RETURN_IF_ERROR(CheckPointer(runtime, "runtime"));
  TSR_ASSIGN_OR_RETURN(const Settings* settings, ScopedSettings(options, {"model.", "device."}, call));
  TSR_RETURN_IF_ERROR(file.status());
  {
    std::lock_guard<std::mutex> lock(runtime->core->mutex);
    if (runtime->core->closed) return Closed("runtime", "it was closed");
  }
  std::shared_ptr<const CallbackTable> progress_table;
  std::optional<RankLayout> rank;
  int32_t threads = 0;
  auto core = std::make_shared<ModelCore>();
  core->runtime = runtime->core;
  if (settings != nullptr) {
    progress_table = settings->Callbacks("model.progress");
    core->reference = settings->String("model.device", "cpu") == "reference";
    threads = static_cast<int32_t>(settings->Int("model.load_threads", 0));
    TSR_ASSIGN_OR_RETURN(rank, RankOf(*settings));
    TSR_ASSIGN_OR_RETURN(core->device, OpenDevice(*settings, runtime->core->log));
  }
  if (rank.has_value() && core->device != nullptr) {
    return Unsupported(
        rank->pipeline > 1 ? "setting 'model.pipeline'" : "setting 'model.tensor_parallel'",
        absl::StrCat(core->device->Title(), " takes whole models so far: ranks need 'model.device' = 'cpu'"));
  }
  std::unique_ptr<HostProgress> progress;
  if (progress_table != nullptr) progress = std::make_unique<HostProgress>(*progress_table);
  const std::shared_ptr<const Backend> backend =
      MakeBackend(core->device, core->reference, /*exact_activations=*/false);
  if (rank.has_value()) {
    TSR_ASSIGN_OR_RETURN(core->model, LoadModelForRank(*std::move(file), *backend, SystemMemory(),
                                                       progress.get(), *rank, threads));
  } else {
    TSR_ASSIGN_OR_RETURN(
        core->model, LoadModel(*std::move(file), *backend, SystemMemory(), progress.get(), nullptr, threads));
  }
  auto handle = std::make_unique<tsr_model>();
  handle->core = std::move(core);
  return handle;
}

absl::StatusOr<const GgufValue*> FindValue(const tsr_model* model, const char* key, size_t key_size) {
  TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
  TSR_RETURN_IF_ERROR(CheckRange(key, key_size, "key"));
  const GgufValue* value = model->core->model->file->Find(View(key, key_size));
  if (value == nullptr)
    return NotFound(absl::StrCat("key '", View(key, key_size), "'"), "the file has no such metadata");
  return value;
}

absl::StatusOr<const GgufValue*> FindElement(const tsr_model* model, const char* key, size_t key_size,
                                             size_t index, int32_t kind) {
  TSR_ASSIGN_OR_RETURN(const GgufValue* value, FindValue(model, key, key_size));
  const std::string place = absl::StrCat("key '", View(key, key_size), "'");
  if (MetadataKind(*value) != kind) return InvalidArgument(place, "its value is of another kind");
  if (index >= value->count()) {
    return InvalidArgument(place, absl::StrCat("index ", index, " of ", value->count(), " elements"));
  }
  return value;
}

absl::Status CheckFlags(int32_t flags) {
  if ((flags & ~(TSR_TEXT_PARSE_SPECIAL | TSR_TEXT_ADD_SPECIAL)) == 0) return absl::OkStatus();
  return InvalidArgument("flags", absl::StrCat(flags, " has bits that are no TSR_TEXT_ constant"));
}

}  // namespace

absl::Status TooSmall(absl::string_view name, size_t needed, size_t capacity) {
  return Error(ErrorCode::kBufferTooSmall, name,
               absl::StrCat(needed, " are needed, there is room for ", capacity));
}

absl::Status TokenizeText(const Tokenizer& tokenizer, const char* text, size_t text_size, int32_t flags,
                          std::vector<int32_t>* tokens) {
  TSR_RETURN_IF_ERROR(CheckRange(text, text_size, "text"));
  TSR_RETURN_IF_ERROR(CheckFlags(flags));
  TokenizeOptions options;
  options.parse_special = (flags & TSR_TEXT_PARSE_SPECIAL) != 0;
  options.add_special = (flags & TSR_TEXT_ADD_SPECIAL) != 0;
  return tokenizer.Tokenize(View(text, text_size), options, tokens);
}

int32_t MetadataKind(const GgufValue& value) {
  switch (value.type) {
    case GgufType::kFloat32:
    case GgufType::kFloat64:
      return TSR_METADATA_FLOAT;
    case GgufType::kString:
      return TSR_METADATA_STRING;
    default:
      return TSR_METADATA_INT;
  }
}

}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points

tsr_status tsr_model_load_file(tsr_runtime* runtime, const char* path, size_t path_size,
                               const tsr_options* options, tsr_model** model, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_ASSIGN_OR_RETURN(auto made,
                         Load(runtime, OpenPathSource(path, path_size), options, "tsr_model_load_file"));
    *model = made.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_model_load_descriptor(tsr_runtime* runtime, int descriptor, uint64_t offset,
                                     uint64_t size_bytes, const tsr_options* options, tsr_model** model,
                                     tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_ASSIGN_OR_RETURN(auto made, Load(runtime, OpenDescriptorSource(descriptor, offset, size_bytes),
                                         options, "tsr_model_load_descriptor"));
    *model = made.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_model_load_memory(tsr_runtime* runtime, const void* data, size_t size_bytes, int32_t mode,
                                 const tsr_options* options, tsr_model** model, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_ASSIGN_OR_RETURN(
        auto made, Load(runtime, OpenMemorySource(data, size_bytes, mode), options, "tsr_model_load_memory"));
    *model = made.release();
    return absl::OkStatus();
  });
}

tsr_status tsr_model_load_reader(tsr_runtime* runtime, const tsr_reader* reader, const tsr_options* options,
                                 tsr_model** model, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    const Settings* const settings = SettingsOf(options);
    const int64_t most_calls = settings != nullptr ? settings->Int("model.read_threads", 1) : 1;
    auto file =
        OpenReaderSource(reader, most_calls);  // first: from here on the reader is dropped on every way out
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_ASSIGN_OR_RETURN(auto made, Load(runtime, std::move(file), options, "tsr_model_load_reader"));
    *model = made.release();
    return absl::OkStatus();
  });
}

void tsr_model_release(tsr_model* model) {
  if (!Forked()) delete model;
}

tsr_status tsr_model_get_info(const tsr_model* model, tsr_model_info* info, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_RETURN_IF_ERROR(CheckPointer(info, "info"));
    const tessera::LoadedModel& loaded = *model->core->model;
    tsr_model_info full = {};
    full.parameters = loaded.spec.parameters();
    full.weight_bytes = loaded.weights->size_bytes();
    full.bytes_per_token = loaded.spec.bytes_per_token();
    full.vocabulary_size = loaded.spec.vocabulary_size;
    full.context_tokens = loaded.spec.context_tokens;
    full.layers = static_cast<int32_t>(loaded.spec.layers.size());
    full.hidden_size = loaded.spec.hidden_size;
    full.bos_token = loaded.tokenizer->bos_token();
    full.end_token = loaded.tokenizer->end_token();
    std::copy(loaded.hash.bytes.begin(), loaded.hash.bytes.end(), full.hash);
    std::copy(loaded.tokenizer_hash.bytes.begin(), loaded.tokenizer_hash.bytes.end(), full.tokenizer_hash);
    const tessera::Device* const device = model->core->device.get();
    const std::string name = device != nullptr        ? device->info().name
                             : model->core->reference ? "reference"
                                                      : "cpu";
    name.copy(full.device, sizeof(full.device) - 1);
    if (device != nullptr) {
      device->info().uuid.copy(full.device_uuid, sizeof(full.device_uuid) - 1);
      full.device_memory_bytes = device->info().memory_bytes;
    }
    return FillStruct(full, info);
  });
}

size_t tsr_model_metadata_count(const tsr_model* model) {
  return model == nullptr ? 0 : model->core->model->file->metadata().size();
}

const char* tsr_model_metadata_key(const tsr_model* model, size_t index, size_t* size) {
  if (size != nullptr) *size = 0;
  if (model == nullptr || index >= model->core->model->file->metadata().size()) return nullptr;
  const auto& key = model->core->model->file->metadata()[index].first;
  if (size != nullptr) *size = key.size();
  return key.data();
}

tsr_status tsr_model_metadata_kind(const tsr_model* model, const char* key, size_t key_size, int32_t* kind,
                                   size_t* count, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_ASSIGN_OR_RETURN(const tessera::GgufValue* value, FindValue(model, key, key_size));
    if (kind != nullptr) *kind = MetadataKind(*value);
    if (count != nullptr) *count = static_cast<size_t>(value->count());
    return absl::OkStatus();
  });
}

tsr_status tsr_model_metadata_int(const tsr_model* model, const char* key, size_t key_size, size_t index,
                                  int64_t* result, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(result, "value"));
    TSR_ASSIGN_OR_RETURN(const tessera::GgufValue* value,
                         FindElement(model, key, key_size, index, TSR_METADATA_INT));
    *result = value->integers[index];
    return absl::OkStatus();
  });
}

tsr_status tsr_model_metadata_float(const tsr_model* model, const char* key, size_t key_size, size_t index,
                                    double* result, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(result, "value"));
    TSR_ASSIGN_OR_RETURN(const tessera::GgufValue* value,
                         FindElement(model, key, key_size, index, TSR_METADATA_FLOAT));
    *result = value->floats[index];
    return absl::OkStatus();
  });
}

tsr_status tsr_model_metadata_string(const tsr_model* model, const char* key, size_t key_size, size_t index,
                                     const char** result, size_t* result_size, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(result, "value"));
    TSR_RETURN_IF_ERROR(CheckPointer(result_size, "value_size"));
    TSR_ASSIGN_OR_RETURN(const tessera::GgufValue* value,
                         FindElement(model, key, key_size, index, TSR_METADATA_STRING));
    const absl::string_view text = value->strings[index];
    *result = text.data();
    *result_size = text.size();
    return absl::OkStatus();
  });
}

tsr_status tsr_model_tokenize(const tsr_model* model, const char* text, size_t text_size, int32_t flags,
                              int32_t* tokens, size_t capacity, size_t* count, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_RETURN_IF_ERROR(CheckPointer(count, "count"));
    TSR_RETURN_IF_ERROR(CheckRange(tokens, capacity, "tokens"));
    std::vector<int32_t> found;
    TSR_RETURN_IF_ERROR(TokenizeText(*model->core->model->tokenizer, text, text_size, flags, &found));
    *count = found.size();
    if (found.size() > capacity) return TooSmall("tokens", found.size(), capacity);
    std::copy(found.begin(), found.end(), tokens);
    return absl::OkStatus();
  });
}

tsr_status tsr_model_detokenize(const tsr_model* model, const int32_t* tokens, size_t count, int32_t flags,
                                char* buffer, size_t capacity, size_t* size, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(model, "model"));
    TSR_RETURN_IF_ERROR(CheckPointer(size, "size"));
    TSR_RETURN_IF_ERROR(CheckRange(tokens, count, "tokens"));
    TSR_RETURN_IF_ERROR(CheckRange(buffer, capacity, "buffer"));
    TSR_RETURN_IF_ERROR(CheckFlags(flags));
    const tessera::Tokenizer& tokenizer = *model->core->model->tokenizer;
    const bool special = (flags & TSR_TEXT_PARSE_SPECIAL) != 0;
    size_t needed = 0;
    for (size_t i = 0; i < count; ++i) {
      if (tokens[i] < 0 || tokens[i] >= tokenizer.vocabulary_size()) {
        return tessera::InvalidArgument(
            absl::StrCat("tokens[", i, "]"),
            absl::StrCat("token ", tokens[i], " is outside the vocabulary of ", tokenizer.vocabulary_size()));
      }
      needed += tokenizer.TokenBytes(tokens[i], special).size();
    }
    *size = needed;
    if (needed > capacity) return TooSmall("buffer", needed, capacity);
    for (size_t i = 0; i < count; ++i) {
      const absl::string_view bytes = tokenizer.TokenBytes(tokens[i], special);
      buffer = std::copy(bytes.begin(), bytes.end(), buffer);
    }
    return absl::OkStatus();
  });
}

// What the opaque handles hold. Children own their parents; nothing here computes.
#ifndef TESSERA_CAPI_SRC_HANDLES_H_
#define TESSERA_CAPI_SRC_HANDLES_H_

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "capi/src/callbacks.h"
#include "capi/src/settings.h"
#include "core/base/log.h"
#include "core/device/device.h"
#include "core/engine/engine.h"
#include "core/engine/loaded_model.h"
#include "core/request/event_queue.h"
#include "tessera/tessera.h"

namespace tessera::capi {

class HostLog final : public LogSink {
 public:
  explicit HostLog(std::shared_ptr<const CallbackTable> table);
  void Write(LogLevel level, absl::string_view message) noexcept override;

 private:
  std::shared_ptr<const CallbackTable> table_;
  tsr_log_callbacks callbacks_;
};

// The runtime proper: outlives its handle as long as a child lives.
struct RuntimeCore {
  Logger log;
  int32_t threads = 1;

  std::mutex close_mutex;  // held for a whole close: who closes too waits for its end
  std::mutex mutex;        // guards what follows
  bool closed = false;
  std::vector<std::weak_ptr<Engine>> engines;
  std::vector<std::weak_ptr<EventQueue>> queues;
};

struct ModelCore {
  std::shared_ptr<RuntimeCore> runtime;
  std::shared_ptr<const LoadedModel> model;
  bool reference = false;          // its weights lie as the reference backend wants them
  std::shared_ptr<Device> device;  // where they lie; null: in the host's memory
};

// Closes the engine when the last handle that needs it goes; inside a callback it only asks for the close.
struct EngineOwner {
  std::shared_ptr<const ModelCore> model;
  std::shared_ptr<Engine> engine;
  ~EngineOwner() {
    if (engine == nullptr) return;
    if (InsideCallback()) {
      engine->CloseSoon();
    } else {
      engine->Close();
    }
  }
};

}  // namespace tessera::capi

struct tsr_options {
  tessera::capi::Settings settings;
};

struct tsr_runtime {
  std::shared_ptr<tessera::capi::RuntimeCore> core;
};

struct tsr_model {
  std::shared_ptr<const tessera::capi::ModelCore> core;
};

struct tsr_queue {
  std::shared_ptr<tessera::capi::RuntimeCore> runtime;
  std::shared_ptr<tessera::EventQueue> queue;
};

struct tsr_engine {
  std::shared_ptr<tessera::capi::EngineOwner> owner;
};

struct tsr_session {
  std::shared_ptr<tessera::capi::EngineOwner> owner;
  std::shared_ptr<tessera::Session> session;
  std::atomic<bool> inside{false};  // a call of class "session" is under way
};

namespace tessera::capi {

inline const Settings* SettingsOf(const tsr_options* options) {
  return options == nullptr ? nullptr : &options->settings;
}

// The settings given, or none; kInvalidArgument when one of them belongs to another call.
absl::StatusOr<const Settings*> ScopedSettings(const tsr_options* options,
                                               absl::Span<const absl::string_view> prefixes,
                                               absl::string_view call);

// What the "engine." settings say, how many threads the runtime leaves, and which cache the backend prefers.
EngineOptions EngineOptionsOf(const Settings& settings, int32_t runtime_threads, CacheType preferred);

inline absl::Status CheckStructSize(size_t struct_size) {
  if (struct_size >= sizeof(size_t)) return absl::OkStatus();
  return InvalidArgument("struct_size",
                         absl::StrCat(struct_size, " is too small; set it to the structure's size"));
}

// Fills as much of the host's structure as its struct_size says it has.
template <typename Struct>
absl::Status FillStruct(Struct& full, Struct* out) {
  TSR_RETURN_IF_ERROR(CheckStructSize(out->struct_size));
  full.struct_size = out->struct_size;
  std::memcpy(out, &full, std::min(out->struct_size, sizeof(Struct)));
  return absl::OkStatus();
}

// Text with TSR_TEXT_ flags, checked.
absl::Status TokenizeText(const Tokenizer& tokenizer, const char* text, size_t text_size, int32_t flags,
                          std::vector<int32_t>* tokens);
absl::Status TooSmall(absl::string_view name, size_t needed, size_t capacity);
int32_t MetadataKind(const GgufValue& value);  // a TSR_METADATA_ constant

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_HANDLES_H_

#include "tests/doubles/simulated_device.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/build_id.h"
#include "core/base/status.h"
#include "core/cpu/reference/reference_backend.h"
#include "core/env/memory.h"
#include "core/execute/loop.h"
#include "tests/doubles/described_model.h"
#include "tests/doubles/simulated_step.h"

using tessera::ErrorCode;

namespace {

constexpr size_t kPieceBytes = 24 << 10;
constexpr size_t kPieces = 3;

struct Upload {
  void* piece = nullptr;
  void* target = nullptr;
  size_t size_bytes = 0;
};

}  // namespace

struct tsr_device {
  int32_t index = 0;
  tsr_device_allocator device_memory = {};
  std::vector<std::vector<uint8_t>> pieces;
  std::vector<void*> free_pieces;
  std::deque<Upload> uploads;
  bool closing = false;
  std::thread copier;
};

namespace tessera {
namespace {

void Say(tsr_device_failure* failure, ErrorCode code, bool lost, const std::string& message) {
  *failure = {};
  failure->code = static_cast<int32_t>(code);
  failure->lost = lost ? 1 : 0;
  const std::string text = "simulated device: " + message;
  failure->place_bytes = 16;
  std::strncpy(failure->message, text.c_str(), sizeof(failure->message) - 1);
}

}  // namespace
}  // namespace tessera

struct tsr_device_context {
  tsr_device* device = nullptr;
  tessera::BackendLimits limits;
  std::unique_ptr<tessera::DescribedModel> model;
  std::unique_ptr<tessera::Backend> backend;
  std::unique_ptr<tessera::BackendContext> computing;
  std::unique_ptr<tessera::RegionLoop> loop;
  std::vector<tessera::CacheView> caches;
  std::deque<std::unique_ptr<tessera::SimulatedStep>> jobs;
  std::vector<int32_t> last_tokens;  // of the step computed last
  bool busy = false;
  bool closing = false;
  uint64_t steps = 0;
  std::thread thread;
};

namespace tessera {

// The table's functions.
struct SimulatedTable {
  static SimulatedDevice& Sim() { return SimulatedDevice::Get(); }

  // One device call; mutex held. False: it fails.
  static bool Enter(tsr_device_failure* failure) {
    SimulatedDevice& sim = Sim();
    ++sim.calls_;
    if (sim.fail_call_ == sim.calls_) {
      if (sim.sticky_) sim.lost_ = true;
      if (!sim.lost_) Say(failure, ErrorCode::kInternal, false, "a call failed on purpose");
      if (!sim.lost_) return false;
    }
    if (!sim.lost_) return true;
    Say(failure, ErrorCode::kLost, true, "it is gone on purpose");
    return false;
  }

  static int32_t CountDevices(int32_t* count, tsr_device_failure* failure) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    if (!Sim().driver_) {
      Say(failure, ErrorCode::kUnsupported, false, "there is no driver");
      return failure->code;
    }
    *count = Sim().devices_;
    return 0;
  }

  static void Describe(int32_t index, tsr_device_info* info) {
    const SimulatedDevice& sim = Sim();
    const size_t size = info->struct_size;
    *info = {};
    info->struct_size = size;
    info->index = index;
    info->compute_capability = index == sim.unusable_ ? 35 : 90;
    info->multiprocessors = 2;
    info->usable = index == sim.unusable_ ? 0 : 1;
    info->memory_bytes = sim.memory_bytes_;
    info->free_bytes = sim.memory_bytes_ - sim.live_bytes_;
    std::strcpy(info->name, "Simulated");
    std::strcpy(info->uuid, ("GPU-000" + std::to_string(index)).c_str());
  }
  static int32_t DescribeDevice(int32_t index, tsr_device_info* info, tsr_device_failure*) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    Describe(index, info);
    return 0;
  }

  static int32_t Open(const tsr_device_options* options, tsr_device** device, tsr_device_failure* failure) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    if (!Enter(failure)) return failure->code;
    auto opened = std::make_unique<tsr_device>();
    opened->index = options->index;
    opened->device_memory = options->device_memory;
    opened->pieces.resize(kPieces);
    for (std::vector<uint8_t>& piece : opened->pieces) {
      piece.resize(kPieceBytes);
      opened->free_pieces.push_back(piece.data());
    }
    Sim().low_priority_ = options->low_priority != 0;
    Sim().host_stream_ = options->stream;
    ++Sim().live_devices_;
    *device = opened.release();
    (*device)->copier = std::thread([device = *device] { Copy(device); });
    return 0;
  }

  static void Close(tsr_device* device) {
    {
      const std::lock_guard<std::mutex> lock(Sim().mutex_);
      device->closing = true;
      Sim().changed_.notify_all();
    }
    device->copier.join();
    delete device;
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    --Sim().live_devices_;
  }

  static int32_t DescribeOpen(tsr_device* device, tsr_device_info* info, tsr_device_failure* failure) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    if (Sim().lost_) {
      Say(failure, ErrorCode::kLost, true, "it is gone on purpose");
      return failure->code;
    }
    Describe(device->index, info);
    return 0;
  }

  static void* Allocate(tsr_device* device, int32_t memory_class, size_t size, tsr_device_failure* failure) {
    SimulatedDevice& sim = Sim();
    {
      const std::lock_guard<std::mutex> lock(sim.mutex_);
      if (!Enter(failure)) return nullptr;
      if (size > sim.memory_bytes_ - std::min(sim.live_bytes_, sim.memory_bytes_)) {
        Say(failure, ErrorCode::kOutOfMemory, false, "no room for " + std::to_string(size) + " bytes");
        return nullptr;
      }
      sim.live_bytes_ += size;
      ++sim.live_regions_;
    }
    const tsr_device_allocator& host = device->device_memory;
    if (host.allocate == nullptr) return SystemMemory()->Allocate(MemoryClass::kScratch, size);
    void* const data = host.allocate(host.user, memory_class, size);
    if (data != nullptr) std::memset(data, 0, size);
    return data;
  }

  static void Free(tsr_device* device, int32_t memory_class, void* data, size_t size) {
    const tsr_device_allocator& host = device->device_memory;
    if (host.free == nullptr) {
      SystemMemory()->Free(MemoryClass::kScratch, data, size);
    } else {
      host.free(host.user, memory_class, data, size);
    }
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    Sim().live_bytes_ -= size;
    --Sim().live_regions_;
  }

  static size_t PieceBytes(tsr_device*) { return kPieceBytes; }

  static int32_t BeginUpload(tsr_device* device, void** piece, tsr_device_failure* failure) {
    std::unique_lock<std::mutex> lock(Sim().mutex_);
    if (!Enter(failure)) return failure->code;
    Sim().changed_.wait(lock, [&] { return !device->free_pieces.empty(); });
    *piece = device->free_pieces.back();
    device->free_pieces.pop_back();
    ++Sim().pieces_out_;
    return 0;
  }

  static int32_t EndUpload(tsr_device* device, void* piece, void* target, size_t size,
                           tsr_device_failure* failure) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    const bool fine = size == 0 || Enter(failure);
    device->uploads.push_back({piece, target, fine ? size : 0});
    Sim().changed_.notify_all();
    return fine ? 0 : failure->code;
  }

  // Behind the caller's back.
  static void Copy(tsr_device* device) {
    std::unique_lock<std::mutex> lock(Sim().mutex_);
    for (;;) {
      Sim().changed_.wait(lock, [&] { return device->closing || !device->uploads.empty(); });
      if (device->uploads.empty()) return;
      const Upload upload = device->uploads.front();
      lock.unlock();
      std::this_thread::yield();
      if (upload.size_bytes > 0) std::memcpy(upload.target, upload.piece, upload.size_bytes);
      std::memset(upload.piece, 0xee, kPieceBytes);
      lock.lock();
      device->uploads.pop_front();
      device->free_pieces.push_back(upload.piece);
      --Sim().pieces_out_;
      Sim().changed_.notify_all();
    }
  }

  static int32_t WaitUploads(tsr_device* device, tsr_device_failure* failure) {
    std::unique_lock<std::mutex> lock(Sim().mutex_);
    Sim().changed_.wait(lock, [&] { return device->uploads.empty(); });
    return Enter(failure) ? 0 : failure->code;
  }

  static int32_t Download(tsr_device*, const void* source, void* target, size_t size,
                          tsr_device_failure* failure) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    if (!Enter(failure)) return failure->code;
    std::memcpy(target, source, size);
    return 0;
  }

  static int32_t PlanContext(const tsr_device_model* model, const tsr_device_limits* limits,
                             tsr_device_context_memory* memory, tsr_device_failure*) {
    memory->device_bytes =
        static_cast<uint64_t>(limits->max_rows) * static_cast<uint64_t>(model->hidden_size);
    memory->pinned_bytes = static_cast<uint64_t>(limits->max_rows) * 16;
    memory->object_bytes = 1000;
    return 0;
  }

  static int32_t CreateContext(tsr_device* device, const tsr_device_model* model,
                               const tsr_device_limits* limits, tsr_device_context** context,
                               tsr_device_failure* failure) {
    {
      const std::lock_guard<std::mutex> lock(Sim().mutex_);
      if (!Enter(failure)) return failure->code;
    }
    auto made = std::make_unique<tsr_device_context>();
    made->device = device;
    made->limits.max_rows = limits->max_rows;
    made->limits.max_samples = limits->max_samples;
    made->limits.max_sequences = limits->max_sequences;
    made->limits.max_positions = limits->max_positions;
    made->limits.block_tokens = limits->block_tokens;
    made->limits.cache_type = static_cast<CacheType>(limits->cache_type);
    made->model = std::make_unique<DescribedModel>(*model);
    made->backend = MakeReferenceBackend();
    auto computing = made->backend->CreateContext(made->model->spec(), made->limits, nullptr, SystemMemory());
    if (!computing.ok()) {
      Say(failure, CodeOf(computing.status()), false, std::string(computing.status().message()));
      return failure->code;
    }
    made->computing = *std::move(computing);
    made->loop = std::make_unique<RegionLoop>(&made->model->spec(), made->model.get(), made->computing.get());
    *context = made.release();
    (*context)->thread = std::thread([context = *context] { Compute(context); });
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    ++Sim().live_contexts_;
    return 0;
  }

  static void DestroyContext(tsr_device_context* context) {
    {
      const std::lock_guard<std::mutex> lock(Sim().mutex_);
      context->closing = true;
      Sim().changed_.notify_all();
    }
    context->thread.join();
    delete context;
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    --Sim().live_contexts_;
  }

  static int32_t SetCaches(tsr_device_context* context, const tsr_device_cache* caches, int32_t count,
                           tsr_device_failure*) {
    for (int32_t i = 0; i < count; ++i) {
      const tsr_device_cache& from = caches[i];
      context->caches.push_back({static_cast<uint8_t*>(from.data), static_cast<CacheType>(from.type),
                                 from.block_tokens, from.kv_heads, from.head_size, from.layer_count});
    }
    return 0;
  }

  static int32_t RunStep(tsr_device_context* context, const tsr_device_step* step,
                         tsr_device_failure* failure) {
    SimulatedDevice& sim = Sim();
    const std::lock_guard<std::mutex> lock(sim.mutex_);
    if (!Enter(failure)) return failure->code;
    context->jobs.push_back(SimulatedStep::Take(context->caches, context->limits.block_tokens, *step));
    sim.most_in_flight_ = std::max(sim.most_in_flight_, static_cast<int64_t>(context->jobs.size()));
    sim.changed_.notify_all();
    return 0;
  }

  static SimulatedStep* Next(tsr_device_context* context) {
    for (const std::unique_ptr<SimulatedStep>& job : context->jobs) {
      if (!job->done) return job.get();
    }
    return nullptr;
  }

  static void Compute(tsr_device_context* context) {
    SimulatedDevice& sim = Sim();
    std::unique_lock<std::mutex> lock(sim.mutex_);
    for (;;) {
      sim.changed_.wait(
          lock, [&] { return context->closing || (Next(context) != nullptr && (!sim.held_ || sim.lost_)); });
      SimulatedStep* const job = Next(context);
      if (job == nullptr || context->closing) return;
      ++sim.computations_;
      const bool fails = sim.fail_computation_ == sim.computations_;
      if (fails && sim.sticky_) sim.lost_ = true;
      bool fine = Enter(&job->failure);
      if (fine && fails) Say(&job->failure, ErrorCode::kInternal, false, "a computation failed on purpose");
      fine = fine && !fails;
      for (size_t row = 0; row < job->tokens.size(); ++row) {
        if (job->tokens[row] != kSampledToken) continue;
        ++sim.sampled_ahead_;
        job->tokens[row] = context->last_tokens[static_cast<size_t>(job->sources[row])];
      }
      context->busy = true;
      lock.unlock();
      if (fine) {
        NeverStop never;
        context->loop->Begin(&job->view);
        const absl::StatusOr<bool> done = context->loop->Run(never);
        if (!done.ok())
          Say(&job->failure, CodeOf(done.status()), false, std::string(done.status().message()));
      } else {
        job->Spoil(context->caches);
      }
      lock.lock();
      context->last_tokens.clear();
      for (const SampleRow& sample : job->samples) {
        context->last_tokens.push_back(fine ? std::max(sample.token, 0) : 0);
      }
      context->busy = false;
      ++context->steps;
      job->done = true;
      sim.changed_.notify_all();
    }
  }

  static int32_t FinishStep(tsr_device_context* context, int64_t timeout_ns, int32_t* done,
                            tsr_device_failure* failure) {
    SimulatedDevice& sim = Sim();
    std::unique_lock<std::mutex> lock(sim.mutex_);
    const auto ready = [&] { return context->jobs.front()->done; };
    *done = sim.changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), ready) ? 1 : 0;
    if (*done == 0) return 0;
    const std::unique_ptr<SimulatedStep> job = std::move(context->jobs.front());
    context->jobs.pop_front();
    if (job->failure.code != 0) {
      *done = 0;
      *failure = job->failure;
      return failure->code;
    }
    job->GiveResults();
    return 0;
  }

  static void AbandonSteps(tsr_device_context* context) {
    std::unique_lock<std::mutex> lock(Sim().mutex_);
    Sim().changed_.wait(lock, [&] { return !context->busy; });
    context->jobs.clear();
  }

  static void Times(tsr_device_context* context, tsr_device_times* times) {
    const std::lock_guard<std::mutex> lock(Sim().mutex_);
    times->steps = context->steps;
    times->device_ns = context->steps * 1000;
    times->idle_ns = context->steps * 10;
    for (uint64_t i = 0; i < 8; ++i) times->region_ns[i] = context->steps * (i + 1);
  }

  static void InjectFailure(tsr_device*, int64_t after, int32_t, int32_t sticky) {
    Sim().FailCall(after, sticky != 0);
  }
};

SimulatedDevice& SimulatedDevice::Get() {
  static auto* const device = new SimulatedDevice;
  return *device;
}

const tsr_device_functions* SimulatedDevice::Functions() {
  static const tsr_device_functions functions = {
      sizeof(tsr_device_functions),
      TSR_DEVICE_TABLE_VERSION,
      0,
      BuildId(),
      "cuda",
      "90a",
      SimulatedTable::CountDevices,
      SimulatedTable::DescribeDevice,
      SimulatedTable::Open,
      SimulatedTable::Close,
      SimulatedTable::DescribeOpen,
      SimulatedTable::Allocate,
      SimulatedTable::Free,
      SimulatedTable::PieceBytes,
      SimulatedTable::BeginUpload,
      SimulatedTable::EndUpload,
      SimulatedTable::WaitUploads,
      SimulatedTable::Download,
      SimulatedTable::PlanContext,
      SimulatedTable::CreateContext,
      SimulatedTable::DestroyContext,
      SimulatedTable::SetCaches,
      SimulatedTable::RunStep,
      SimulatedTable::FinishStep,
      SimulatedTable::AbandonSteps,
      SimulatedTable::Times,
      SimulatedTable::InjectFailure,
  };
  return &functions;
}

bool SimulatedDevice::Reset() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool clean =
      live_bytes_ == 0 && live_regions_ == 0 && live_devices_ == 0 && live_contexts_ == 0 && pieces_out_ == 0;
  calls_ = fail_call_ = computations_ = fail_computation_ = 0;
  sticky_ = lost_ = held_ = low_priority_ = false;
  driver_ = true;
  devices_ = 1;
  unusable_ = -1;
  memory_bytes_ = uint64_t{1} << 30;
  most_in_flight_ = sampled_ahead_ = 0;
  host_stream_ = nullptr;
  return clean;
}

void SimulatedDevice::FailCall(int64_t nth, bool sticky) {
  const std::lock_guard<std::mutex> lock(mutex_);
  fail_call_ = nth == 0 ? 0 : calls_ + nth;
  sticky_ = sticky;
}

void SimulatedDevice::FailComputation(int64_t nth, bool sticky) {
  const std::lock_guard<std::mutex> lock(mutex_);
  fail_computation_ = nth == 0 ? 0 : computations_ + nth;
  sticky_ = sticky;
}

void SimulatedDevice::SetMemory(uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  memory_bytes_ = bytes;
}

void SimulatedDevice::SetDevices(int32_t count, int32_t unusable) {
  const std::lock_guard<std::mutex> lock(mutex_);
  devices_ = count;
  unusable_ = unusable;
}

void SimulatedDevice::SetDriver(bool there) {
  const std::lock_guard<std::mutex> lock(mutex_);
  driver_ = there;
}

void SimulatedDevice::HoldSteps(bool held) {
  const std::lock_guard<std::mutex> lock(mutex_);
  held_ = held;
  changed_.notify_all();
}

}  // namespace tessera

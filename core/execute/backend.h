// The seam between the engine and whatever computes. A backend sees raw pointers, shapes and weights in its
// own layout; it knows no session, request or scheduler. Implementations: core/cpu (fast), core/cpu/reference
// (plain loops, F32), core/device (whatever a device's module runs), tests/doubles (simulated).
#ifndef TESSERA_CORE_EXECUTE_BACKEND_H_
#define TESSERA_CORE_EXECUTE_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/cache/cache_view.h"
#include "core/env/pause_source.h"
#include "core/execute/region.h"
#include "core/model/model_spec.h"
#include "core/offload/weight_view.h"
#include "core/request/sampling_params.h"

namespace tessera {

// Loaders hand tensors over in runs of so many rows, or multiples of it, and a last one.
inline constexpr int64_t kPackRunRows = 64;

// A token that an earlier step samples and that only the device knows yet.
inline constexpr int32_t kSampledToken = -1;

// One sequence's part of a step. Its rows are consecutive; so are their positions.
struct SequenceView {
  int32_t first_row = 0;
  int32_t row_count = 0;
  int32_t first_position = 0;  // of first_row; keys and values of [0, first_position) are in the cache
  const int32_t* const* blocks = nullptr;  // [cache_groups][block index]: block ids in that group's pool
};

// What a sampled row asks for and gets. Filled before the run, read at commit.
struct SampleRow {
  int32_t row = 0;                         // row of the step whose logits are sampled
  const SamplingParams* params = nullptr;  // stays valid through the step
  uint64_t position = 0;                   // of the new token in its sequence: the random counter
  const int32_t* history = nullptr;        // the sequence's tokens so far, for penalties
  int32_t history_count = 0;
  float* logits_out = nullptr;  // [vocabulary]: a copy of the raw logits; null: not wanted
  // Ranks that share the vocabulary bring all of the row's logits to rank 0, not just their largest. The same
  // on all ranks; true wherever WantsAllLogits (core/sample/sampler.h) is. Where false every rank gets the
  // token, else rank 0 alone has results; params, history and logits_out are looked at on rank 0 only.
  bool gather_logits = true;
  // results
  int32_t token = -1;
  bool numeric_fault = false;  // NaN or infinity among the logits: no token
  float logprob = 0;           // of `token` by the raw logits
  int32_t top_count = 0;       // params->top_logprobs entries, most probable first
  int32_t top_tokens[kMaxTopLogprobs];
  float top_logprobs[kMaxTopLogprobs];
};

// All that a step needs. Pointers are the backend's device pointers (host pointers on a CPU).
struct StepView {
  int32_t row_count = 0;
  const int32_t* tokens = nullptr;     // [row_count]; kSampledToken: see sources
  const int32_t* positions = nullptr;  // [row_count]
  // [row_count], for rows whose token is kSampledToken: which sample of the step before gives it. Only where
  // the backend has several steps in flight.
  const int32_t* sources = nullptr;
  int32_t sequence_count = 0;
  const SequenceView* sequences = nullptr;  // in row order, covering all rows
  const CacheView* caches = nullptr;        // [cache_groups]
  const BlockCopy* copies = nullptr;        // [copy_count], done in this order before the first region
  int32_t copy_count = 0;
  int32_t sample_count = 0;
  SampleRow* samples = nullptr;  // in row order; rows without one need no logits
};

// The weights that a region needs, acquired from Residency before Execute. By role; absent ones are null
// views.
struct RegionWeights {
  WeightView norm;
  WeightView query, key, value;
  WeightView query_bias, key_bias, value_bias;
  WeightView matrix, matrix_bias;  // output, down or head projection; embedding table
  WeightView gate, up;
};

// How far a region has come that is computed in slices. Made new for each region of a step; what its parts
// mean is the backend's affair.
//
// A backend on one of several ranks that share the layers leaves a region that Exchanges once, with kWanted,
// to have its `outgoing` bytes brought to the other ranks; it is called again, with kDone, when theirs have
// come. Buffers are two, used by turns: what went out in turn t may be written again in the next turn t.
enum class ExchangeState : int32_t { kNone, kWanted, kDone };
struct RegionProgress {
  bool done = false;
  int32_t phase = 0;
  int64_t next = 0;  // first task of the phase that is still to do
  ExchangeState exchange = ExchangeState::kNone;
  int32_t turn = 0;  // 0 or 1
  absl::Span<const uint8_t> outgoing;
  absl::Span<const absl::Span<const uint8_t>> incoming;  // [ranks], valid while the region runs
};

// What a device says of its own time. All 0 where no device computes by itself.
struct DeviceTimes {
  uint64_t steps = 0;
  uint64_t busy_ns = 0;                   // from each step's first operation to its last
  uint64_t idle_ns = 0;                   // between steps that were queued one behind the other
  uint64_t region_ns[kRegionKinds] = {};  // by RegionKind; 0 unless BackendLimits::time_regions
};

// Working memory, threads and constants for one engine's steps of up to a fixed number of rows. One caller.
class BackendContext {
 public:
  virtual ~BackendContext() = default;
  // Runs one region over all rows of the step. Activations live inside the context between regions of one
  // step. Allocates nothing. An error fails the whole batch; numeric faults are per sample row.
  virtual absl::Status Execute(const Region& region, const RegionWeights& weights,
                               const StepView& step) noexcept = 0;
  // Before the first region of a step: its block copies. This is the host's memory; devices have their own.
  virtual absl::Status CopyBlocks(const StepView& step) noexcept;
  // Execute in slices: returns once `pause` says so, at the latest a fraction of a millisecond after, with
  // progress->done false; called again with the same arguments it goes on. Something is computed in each
  // call. Results do not depend on where it was left. Backends that cannot be left do the whole region.
  virtual absl::Status ExecuteSlice(const Region& region, const RegionWeights& weights, const StepView& step,
                                    PauseSource& pause, RegionProgress* progress) noexcept {
    (void)pause;
    progress->done = true;
    return Execute(region, weights, step);
  }
  // Steps that may be in flight. More than 1: a device computes by itself; Execute only puts regions into its
  // stream, in the order of the steps, and FinishStep says when the oldest step is done.
  virtual int32_t depth() const noexcept { return 1; }
  // The oldest step whose regions were all executed: true when it is done, and its samples are written; false
  // once `pause` says so, at the latest a fraction of a millisecond after. An error is the step's own.
  virtual absl::StatusOr<bool> FinishStep(PauseSource& pause) noexcept {
    (void)pause;
    return true;
  }
  // For good: the device is gone, and with it all that the context held.
  virtual bool lost() const noexcept { return false; }
  // Forgets all steps that are not finished; the device touches nothing of them when it returns.
  virtual void AbandonSteps() noexcept {}
  // The step's activations between two layers, for whoever computes the next: [row_count, hidden]; empty
  // where a backend does not say. Stages of a pipeline read it after their last layer and write it before
  // their first.
  virtual absl::Span<float> HiddenState(const StepView& step) noexcept {
    (void)step;
    return {};
  }
  // How many leading regions of the list it runs as one fused call; at least 1. Of those, Execute gets the
  // first, with its weights, and does all. Not asked where ranks share the layers.
  virtual int32_t Claim(absl::Span<const Region> regions) const noexcept { return regions.empty() ? 0 : 1; }
  // BeginStep comes before the first region of a step, and again when a step that was left goes on; EndStep
  // when the engine runs out of work or hands the thread back. Several steps may begin without an end between
  // them.
  virtual void BeginStep(const StepView& step) noexcept { (void)step; }
  virtual void EndStep() noexcept {}
  virtual size_t scratch_bytes() const noexcept { return 0; }
  // Since the context was made, as of the last step that FinishStep told of. By whoever steps.
  virtual DeviceTimes times() const noexcept { return {}; }
};

struct BackendLimits {
  int32_t max_rows = 0;     // rows of a step
  int32_t max_samples = 0;  // sampled rows of a step
  int32_t max_sequences = 0;
  int32_t max_positions = 0;  // longest context
  int32_t block_tokens = 0;
  CacheType cache_type = CacheType::kF32;
  int32_t threads = 1;
  // A row's results do not depend on which rows are beside it. A CPU's never do.
  bool batch_invariant = false;
  bool time_regions = false;  // where a device computes: see DeviceTimes
};

// What a context takes.
struct ContextMemory {
  size_t scratch_bytes = 0;  // its scratch_bytes()
  size_t object_bytes = 0;   // beside it, on the heap, about
  size_t pinned_bytes = 0;   // beside it, the host's memory that a device reads
};

class MemorySource;
class Residency;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;
  // How it computes, where that shows in the results: keys and values that another arithmetic computed are
  // not taken for its own. At most 24 bytes.
  virtual const char* arithmetic() const { return name(); }

  // Where the weights and the cache lie that its contexts compute with; it is alive as long as this pointer.
  // Null: in any memory of the host's.
  virtual std::shared_ptr<MemorySource> memory() const { return nullptr; }
  // The host can read and write that memory.
  virtual bool in_host_memory() const { return true; }

  // A tensor's element type and size in this backend's layout, and the alignment that it wants there.
  virtual TensorType PackedType(TensorType type, int64_t rows) const {
    (void)rows;
    return type;
  }
  virtual size_t PackedBytes(TensorType type, int64_t rows, int64_t columns) const = 0;
  virtual size_t PackAlignment() const { return 64; }
  // The re-laying of rows [first_row, first_row + row_count) of a tensor. `source` holds those rows as the
  // file stores them, and may be overwritten when this returns; `packed` is the whole tensor's place.
  // first_row is a multiple of PackRows(), which divides kPackRunRows; any thread. An error may belong to an
  // earlier call.
  virtual int64_t PackRows() const = 0;
  virtual absl::Status Pack(TensorType type, int64_t rows, int64_t columns, int64_t first_row,
                            int64_t row_count, const void* source, void* packed) const = 0;
  // Memory into which some rows may be read so that no copy of them is made: [source_bytes], for one
  // PackStage, which takes it whatever it returns, or for ReturnStage. Null: there is none for such a tensor.
  // May wait.
  virtual absl::StatusOr<void*> BorrowStage(TensorType type, int64_t rows, size_t source_bytes) const {
    (void)type, (void)rows, (void)source_bytes;
    return nullptr;
  }
  virtual absl::Status PackStage(TensorType type, int64_t rows, int64_t columns, int64_t first_row,
                                 int64_t row_count, void* stage, void* packed) const {
    return Pack(type, rows, columns, first_row, row_count, stage, packed);
  }
  virtual void ReturnStage(void* stage) const noexcept { (void)stage; }
  // After the last Pack: all of it is where it belongs, or what failed.
  virtual absl::Status FinishPacking() const { return absl::OkStatus(); }
  // How many threads should read and pack at once where nobody says.
  virtual int32_t PackThreads() const { return 1; }

  // The type of cache that suits a model where nobody says.
  virtual CacheType PreferredCacheType(const ModelSpec& spec) const {
    (void)spec;
    return CacheType::kF16;
  }

  // Some rows and columns of a packed weight (of a whole one), without copying. kUnsupported, naming what
  // stands in the way, where the layout has no such view.
  struct SliceOf {
    int64_t first_row = 0, rows = 0;
    int64_t first_column = 0, columns = 0;
  };
  virtual absl::StatusOr<WeightView> Slice(const WeightView& whole, const SliceOf& slice) const;

  // What CreateContext would take, or its error where it would refuse; nothing is allocated.
  virtual absl::StatusOr<ContextMemory> PlanContext(const ModelSpec& spec,
                                                    const BackendLimits& limits) const = 0;
  // `spec` and `weights` outlive the context. A device's context finds all its weights now, and needs them to
  // stay where they are; others get them region by region, and take null. kUnsupported where the spec is one
  // rank's part and the backend runs whole models only.
  virtual absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                        const BackendLimits& limits,
                                                                        const Residency* weights,
                                                                        MemorySource* memory) const = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_BACKEND_H_

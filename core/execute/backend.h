// The seam between the engine and whatever computes. A backend sees raw pointers, shapes and weights in its
// own layout; it knows no session, request or scheduler. Implementations: core/cpu (fast), core/cpu/reference
// (plain loops, F32), tests/doubles (simulated), and later gpu/.
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
  const int32_t* tokens = nullptr;     // [row_count]
  const int32_t* positions = nullptr;  // [row_count]
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
  // The step's activations between two layers, for whoever computes the next: [row_count, hidden]; empty
  // where a backend does not say. Stages of a pipeline read it after their last layer and write it before
  // their first.
  virtual absl::Span<float> HiddenState(const StepView& step) noexcept {
    (void)step;
    return {};
  }
  // How many leading regions of the list it can run as one fused call; at least 1.
  virtual int32_t Claim(absl::Span<const Region> regions) const noexcept { return regions.empty() ? 0 : 1; }
  // BeginStep comes before the first region of a step, and again when a step that was left goes on; EndStep
  // when the engine runs out of work or hands the thread back. Several steps may begin without an end between
  // them.
  virtual void BeginStep(const StepView& step) noexcept { (void)step; }
  virtual void EndStep() noexcept {}
  virtual size_t scratch_bytes() const noexcept { return 0; }
};

struct BackendLimits {
  int32_t max_rows = 0;     // rows of a step
  int32_t max_samples = 0;  // sampled rows of a step
  int32_t max_sequences = 0;
  int32_t max_positions = 0;  // longest context
  int32_t block_tokens = 0;
  CacheType cache_type = CacheType::kF32;
  int32_t threads = 1;
};

class MemorySource;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;

  // A tensor's size in this backend's layout, and the re-laying of rows [first_row, first_row + row_count) of
  // it. `source` holds those rows as the file stores them. first_row is a multiple of PackRows(); any thread.
  virtual size_t PackedBytes(TensorType type, int64_t rows, int64_t columns) const = 0;
  virtual int64_t PackRows() const = 0;
  virtual void Pack(TensorType type, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
                    const void* source, void* packed) const = 0;

  // `spec` outlives the context. kUnsupported where it is one rank's part and the backend runs whole models
  // only.
  virtual absl::StatusOr<std::unique_ptr<BackendContext>> CreateContext(const ModelSpec& spec,
                                                                        const BackendLimits& limits,
                                                                        MemorySource* memory) const = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_BACKEND_H_

// The regions of a step (core/execute/region.h) as runs of kernels: each function puts one region's nodes
// into a stream, for a number of rows that launches cover while the step itself may have fewer. Which
// functions serve a step is a table's matter (RegionFunctions).
#ifndef TESSERA_GPU_GRAPH_REGIONS_H_
#define TESSERA_GPU_GRAPH_REGIONS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "gpu/blas/matmul.h"
#include "gpu/device/device_api.h"
#include "gpu/graph/context_layout.h"
#include "gpu/graph/device_model.h"
#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/common/step_arrays.h"
#include "gpu/kernels/sample/sample.h"
#include "gpu/kernels/step_io/step_io.h"
#include "gpu/kernels/wide_linear/wide_linear.h"

namespace tessera::gpu {

// A context's device memory, by ScratchLayout.
struct ContextArrays {
  ContextArrays() = default;
  ContextArrays(const ScratchLayout& layout, uint8_t* memory);

  int32_t *counts = nullptr, *tokens = nullptr, *positions = nullptr, *row_sequence = nullptr;
  int32_t *first_row = nullptr, *row_count = nullptr, *first_position = nullptr, *sample_rows = nullptr;
  int32_t *block_tables = nullptr, *window_tokens = nullptr, *sampled = nullptr;
  SampleParams* params = nullptr;
  tsr_device_bias* biases = nullptr;
  StepOutlet* outlet = nullptr;
  SampleResult* results = nullptr;
  float *hidden = nullptr, *logits = nullptr, *inverse_frequencies = nullptr;
  float2* rotary = nullptr;
  void *normed = nullptr, *qkv = nullptr, *query = nullptr, *context = nullptr, *gate_up = nullptr;
  void *active = nullptr, *sample_workspace = nullptr, *matmul_workspace = nullptr;
  uint8_t* handed_on = nullptr;          // see stream_nodes.h
  std::vector<void*> attention_scratch;  // [layers]
};

// Plans of Matmul for a layer's products. Where weights lie one behind the other they are one product, whose
// plan stands with the first of them; the others are -1.
struct LayerProducts {
  int query = -1, key = -1, value = -1;
  int output = -1;
  int gate = -1, up = -1;
  int down = -1;
};

// What all steps of a context share.
struct RegionContext {
  DeviceApi* api = nullptr;
  DeviceModel model;
  ContextLayout layout;
  ContextArrays arrays;
  bool batch_invariant = false;
  bool overlap = true;
  bool chains = true;  // kernels whose blocks wait for one another may run; see device/turns.h
  int sm_count = 0;
  int compute_capability = 0;          // 90 for 9.0
  double memory_bytes_per_second = 0;  // as the device's clock and bus say
  std::unique_ptr<Matmul> matmul;
  std::vector<LayerProducts> products;  // [layers]
  int head_product = -1;
  std::vector<CacheLayout> caches;  // [layers]
  SampleSetup few_samples, many_samples;
  WideSetup wide;  // of 0 clusters: the device has none of these kernels
};

// Launches for at most so many samples take RegionContext::few_samples.
inline constexpr int32_t kFewSamples = 8;

// What launches cover.
struct StepCover {
  int32_t rows = 0;
  int32_t samples = 0;
  bool decodes = false;  // it may have sequences of one row
  bool prompts = false;  // it may have sequences of several
};

// How a step's products run: separate norms and the vendor's products, or fused; see stream_regions.h.
enum class StreamWay { kNone, kChains, kWide };

struct RegionCall {
  const RegionContext* context = nullptr;
  StepCover cover;
  StreamWay way = StreamWay::kNone;
  LaunchContext launch;
};

// Prepares everything that the functions below use and that can be prepared: products for all row counts, and
// attributes of kernels. Runs products on whatever lies in the context's memory. `stream`: not capturing.
absl::Status PrepareProducts(RegionContext* context, cudaStream_t stream, bool use_library);
absl::Status PrepareKernels(RegionContext* context);

struct RegionFunctions {
  using Whole = absl::Status (*)(const RegionCall& call);
  using OfLayer = absl::Status (*)(const RegionCall& call, int layer);
  Whole embed = nullptr;
  OfLayer norm_qkv = nullptr;
  OfLayer attention = nullptr;
  OfLayer output = nullptr;
  OfLayer norm_gate_up = nullptr;
  OfLayer down = nullptr;
  Whole head = nullptr;
  Whole sample = nullptr;
};

// Separate norms and products by Matmul: for any number of rows.
const RegionFunctions& GeneralRegions();
// Those that serve steps of so many rows.
const RegionFunctions& RegionsFor(const RegionContext& context, const StepCover& cover);

// The step's arrays as kernels of a cache group see them.
StepArrays ArraysOfGroup(const RegionContext& context, int32_t group);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_GRAPH_REGIONS_H_

// The ends of a step on the device: its inputs, which the host wrote into pinned memory, become the arrays
// that kernels read; its results go back into pinned memory. Both are done by kernels that reach the host's
// memory by themselves, so that no copy engine stands between two steps.
#ifndef TESSERA_GPU_KERNELS_STEP_IO_STEP_IO_H_
#define TESSERA_GPU_KERNELS_STEP_IO_STEP_IO_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/kernels/common/launch.h"
#include "gpu/kernels/sample/sample.h"

namespace tessera::gpu {

// When a step ran on the device, by its own nanosecond clock.
struct StepTimes {
  uint64_t first_ns;  // its first node began
  uint64_t last_ns;   // its last node ended
};

// Where a step's results go. Written by the step's first node, since graphs freeze arguments.
struct StepOutlet {
  SampleResult* results = nullptr;  // [samples], mapped host memory
  StepTimes* times = nullptr;       // mapped host memory
};

// One sequence's block ids of one cache group.
struct TableSource {
  int32_t first = 0;  // in StepInput::table_blocks; a multiple of 4
  int32_t count = 0;
};

// Mapped host memory, all of it written before the launch.
struct StepInput {
  int32_t rows = 0;
  int32_t sequences = 0;
  int32_t samples = 0;
  int32_t groups = 0;
  int32_t bias_count = 0;
  int32_t window_token_count = 0;
  const int32_t* tokens =
      nullptr;  // [rows]; kFirstEarlierSample - i: what the step before sampled as its i-th
  const int32_t* positions = nullptr;       // [rows]
  const int32_t* row_sequence = nullptr;    // [rows]
  const int32_t* first_row = nullptr;       // [sequences]
  const int32_t* row_count = nullptr;       // [sequences]
  const int32_t* first_position = nullptr;  // [sequences]
  const int32_t* sample_rows = nullptr;     // [samples]
  const TableSource* tables = nullptr;      // [sequences][groups]
  const int32_t* table_blocks = nullptr;    // aligned to 16 bytes
  const SampleParams* params = nullptr;     // [samples]
  const tsr_device_bias* biases = nullptr;  // [bias_count]
  const int32_t* window_tokens = nullptr;   // [window_token_count]; likewise
  StepOutlet outlet;
};

// Device memory; see StepArrays.
struct StepTarget {
  int32_t row_capacity = 0;     // of the launches that follow: rows from StepInput::rows on are filled up
  int32_t sample_capacity = 0;  // likewise
  int32_t vocabulary = 0;
  int32_t table_stride = 0;  // a multiple of 4
  int32_t* counts = nullptr;
  int32_t* tokens = nullptr;
  int32_t* positions = nullptr;
  int32_t* row_sequence = nullptr;
  int32_t* first_row = nullptr;
  int32_t* row_count = nullptr;
  int32_t* first_position = nullptr;
  int32_t* sample_rows = nullptr;
  int32_t* block_tables = nullptr;  // [groups][max_sequences][table_stride]; aligned to 16 bytes
  int32_t max_sequences = 0;
  SampleParams* params = nullptr;
  tsr_device_bias* biases = nullptr;
  int32_t* window_tokens = nullptr;
  const int32_t* sampled = nullptr;  // by the step before
  StepOutlet* outlet = nullptr;
};

// A step's first node. Not one that may begin before its predecessor has ended.
cudaError_t LaunchUnpackStep(const LaunchContext& context, const StepInput& input, const StepTarget& target);

struct PublishArgs {
  const int32_t* counts = nullptr;
  const SampleParams* params = nullptr;   // [capacity]
  const SampleResult* results = nullptr;  // [capacity]
  const StepOutlet* outlet = nullptr;
  int32_t capacity = 0;
};

// A step's last node: whoever sees it ended sees the results.
cudaError_t LaunchPublishStep(const LaunchContext& context, const PublishArgs& args);

}  // namespace tessera::gpu

#endif  // TESSERA_GPU_KERNELS_STEP_IO_STEP_IO_H_

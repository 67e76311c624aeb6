// Matrix products of a region, spread over a pool: how tiles and rows are cut into tasks. Results do not
// depend on the cut (see kernels/linear/linear.h).
#ifndef TESSERA_CORE_CPU_LINEAR_RUN_H_
#define TESSERA_CORE_CPU_LINEAR_RUN_H_

#include <cstddef>
#include <cstdint>

#include "core/cpu/kernels/linear/linear.h"
#include "core/cpu/region_phases.h"
#include "core/offload/weight_view.h"

namespace tessera {

// Rows of activations in the forms that the region's weights need, by ActivationMode.
struct PreparedRows {
  uint8_t* data[2] = {};  // [rows, stride_bytes]
  size_t stride_bytes[2] = {};
  bool wanted[2] = {};
  int64_t columns = 0;
  int64_t rows = 0;
};

struct LinearPart {
  WeightView weight;
  const float* bias = nullptr;  // [weight.rows] or null
  bool accumulate = false;
  float* out = nullptr;                       // [rows, weight.rows]
  const cpu::LinearLeaves* leaves = nullptr;  // of its sums; null: all columns as they come
};

class LinearRun {
 public:
  explicit LinearRun(cpu::ActivationMode wanted) : wanted_(wanted) {}

  cpu::ActivationMode ModeOf(const WeightView& weight) const { return cpu::ModeFor(wanted_, weight.type); }

  // All parts in one phase: one fork and join where the slice does not end before. False: it ended.
  bool Run(const LinearPart* parts, int32_t part_count, const PreparedRows& input,
           RegionPhases& phases) const noexcept;

  // gate.out = silu(gate) * up, in one phase. Both have the same number of outputs.
  bool RunGateUp(const LinearPart& gate, const LinearPart& up, const PreparedRows& input,
                 RegionPhases& phases) const noexcept;

 private:
  void RunPart(const LinearPart& part, const PreparedRows& input, int64_t tile_begin, int64_t tile_end,
               int64_t row_begin, int64_t row_end) const noexcept;

  cpu::ActivationMode wanted_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_LINEAR_RUN_H_

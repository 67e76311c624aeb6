// Attention of a step, spread over a pool: how sequences, rows and, where there are few rows, chunks of the
// context are cut into tasks, none of which is long. Results do not depend on the cut (see
// kernels/attention/attention.h).
#ifndef TESSERA_CORE_CPU_ATTENTION_RUN_H_
#define TESSERA_CORE_CPU_ATTENTION_RUN_H_

#include <cstdint>
#include <vector>

#include "core/cpu/cpu_scratch.h"
#include "core/cpu/kernels/attention/attention.h"
#include "core/cpu/region_phases.h"
#include "core/env/threads.h"
#include "core/execute/backend.h"

namespace tessera {

class AttentionRun {
 public:
  // May throw std::bad_alloc. `scratch` outlives it.
  AttentionRun(const BackendLimits& limits, const CpuScratch* scratch);

  // Reads scratch.query and the cache, writes scratch.context. False: the slice ended before all was done.
  bool Run(const LayerSpec& layer, int32_t layer_in_group, const StepView& step,
           RegionPhases& phases) noexcept;

 private:
  // Some rows of one sequence.
  struct Piece {
    int32_t sequence = 0;
    int32_t row = 0;  // first, within the sequence
    int32_t row_count = 1;
    int64_t partials = 0;  // where rows are split: the row's first float in scratch.partials
  };
  struct Call {
    const LayerSpec* layer;
    int32_t layer_in_group;
    const StepView* step;
  };

  void CutRows(const Call& call, int32_t tile_rows);
  bool LayPartials(const Call& call);
  cpu::ChunkRange ChunksOf(const Call& call) const;
  bool RunWhole(const Call& call, int32_t tile_rows, RegionPhases& phases) const;
  bool RunSplit(const Call& call, int32_t parts, RegionPhases& phases) const;
  cpu::AttentionTile TileOf(const Call& call, const Piece& piece, int32_t kv_head) const;
  // Floats between the partial results of a row's kv heads.
  static int64_t PartialsStride(const cpu::AttentionTile& tile);
  float* PartialsOf(const cpu::AttentionTile& tile, const Piece& row) const;

  const CpuScratch* scratch_;
  size_t wanted_tasks_;
  std::vector<Piece> pieces_;  // reserved for the limits: never grows in a step
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_ATTENTION_RUN_H_

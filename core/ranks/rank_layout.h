// Which rank is what: stages of consecutive layers, each divided over the ranks of one tensor-parallel group
// (DeepSpeed Inference, section IV).
#ifndef TESSERA_CORE_RANKS_RANK_LAYOUT_H_
#define TESSERA_CORE_RANKS_RANK_LAYOUT_H_

#include <cstdint>

#include "core/parallel/partition.h"

namespace tessera {

inline constexpr int32_t kMostStages = 64;

struct RankLayout {
  int32_t tensor_parallel = 1;
  int32_t pipeline = 1;
  int32_t rank = 0;  // stage() * tensor_parallel + tensor_rank(); 0 leads

  int32_t size() const { return tensor_parallel * pipeline; }
  int32_t stage() const { return rank / tensor_parallel; }
  int32_t tensor_rank() const { return rank % tensor_parallel; }
  bool first_stage() const { return stage() == 0; }
  bool last_stage() const { return stage() == pipeline - 1; }
  // The rank of the same place in another stage.
  int32_t InStage(int32_t of_stage) const { return of_stage * tensor_parallel + tensor_rank(); }
  // Who tells the leader what was sampled.
  int32_t reporter() const { return (pipeline - 1) * tensor_parallel; }
};

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_RANK_LAYOUT_H_

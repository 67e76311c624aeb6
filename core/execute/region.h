// Regions: the unit of execution (MECHANISMS.md's Deep-Fusion regions). One list is derived from the
// ModelSpec; one loop runs it. Reduce points (for tensor parallelism) and stop points (for time budgets) are
// marked in it.
#ifndef TESSERA_CORE_EXECUTE_REGION_H_
#define TESSERA_CORE_EXECUTE_REGION_H_

#include <cstdint>
#include <vector>

#include "core/model/model_spec.h"

namespace tessera {

enum class RegionKind : int32_t {
  kEmbed,       // token rows -> hidden state
  kNormQkv,     // norm, query/key/value projections and biases, rotary position, cache append
  kAttention,   // scores, softmax, context over the cache
  kOutput,      // attention's output projection, bias, added to the hidden state
  kNormGateUp,  // norm, gate and up projections, activation
  kDown,        // down projection, added to the hidden state
  kHead,        // final norm and vocabulary projection of the sampled rows
  kSample,      // logits -> tokens
};
inline constexpr int32_t kRegionKinds = 8;

struct Region {
  RegionKind kind = RegionKind::kEmbed;
  int32_t layer = -1;         // -1: outside the layers
  bool reduce_after = false;  // its output is a partial sum under tensor parallelism
  bool gather_after = false;  // its output is spread over ranks that share the vocabulary
  bool stop_after = true;     // a time budget may end here
};

const char* RegionName(RegionKind kind);

// Ranks that share the layers exchange something once in it.
inline bool Exchanges(const Region& region) { return region.reduce_after || region.gather_after; }

// In execution order: embed, the layers' regions, head, sample; without the first or the last two where the
// spec is a part of a model that has no embedding or no head.
std::vector<Region> BuildRegions(const ModelSpec& spec);

}  // namespace tessera

#endif  // TESSERA_CORE_EXECUTE_REGION_H_

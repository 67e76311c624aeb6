// What a region's weights must fulfil before it touches memory by them. The engine keeps to it; a breach is a
// defect of ours and becomes kInternal instead of a wild read.
#ifndef TESSERA_CORE_CPU_WEIGHT_CHECK_H_
#define TESSERA_CORE_CPU_WEIGHT_CHECK_H_

#include "absl/status/status.h"
#include "core/execute/backend.h"

namespace tessera {

absl::Status CheckWeights(const ModelSpec& spec, const Region& region, const RegionWeights& weights);

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_WEIGHT_CHECK_H_

#include "core/execute/region.h"

namespace tessera {

const char* RegionName(RegionKind kind) {
  switch (kind) {
    case RegionKind::kEmbed:
      return "embed";
    case RegionKind::kNormQkv:
      return "norm_qkv";
    case RegionKind::kAttention:
      return "attention";
    case RegionKind::kOutput:
      return "output";
    case RegionKind::kNormGateUp:
      return "norm_gate_up";
    case RegionKind::kDown:
      return "down";
    case RegionKind::kHead:
      return "head";
    case RegionKind::kSample:
      return "sample";
  }
  return "unknown";
}

std::vector<Region> BuildRegions(const ModelSpec& spec) {
  std::vector<Region> regions;
  regions.reserve(3 + 5 * spec.layers.size());
  const auto add = [&regions](RegionKind kind, int32_t layer, bool reduce_after) {
    Region region;
    region.kind = kind;
    region.layer = layer;
    region.reduce_after = reduce_after;
    regions.push_back(region);
  };
  add(RegionKind::kEmbed, -1, false);
  for (int32_t layer = 0; layer < static_cast<int32_t>(spec.layers.size()); ++layer) {
    add(RegionKind::kNormQkv, layer, false);
    add(RegionKind::kAttention, layer, false);
    add(RegionKind::kOutput, layer, true);
    add(RegionKind::kNormGateUp, layer, false);
    add(RegionKind::kDown, layer, true);
  }
  add(RegionKind::kHead, -1, false);
  add(RegionKind::kSample, -1, false);
  return regions;
}

}  // namespace tessera

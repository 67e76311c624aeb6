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
  const auto add = [&regions](RegionKind kind, int32_t layer) {
    Region region;
    region.kind = kind;
    region.layer = layer;
    region.reduce_after = kind == RegionKind::kOutput || kind == RegionKind::kDown;
    region.gather_after = kind == RegionKind::kEmbed || kind == RegionKind::kSample;
    regions.push_back(region);
  };
  if (spec.part.has_embedding) add(RegionKind::kEmbed, -1);
  for (int32_t layer = 0; layer < static_cast<int32_t>(spec.layers.size()); ++layer) {
    add(RegionKind::kNormQkv, layer);
    add(RegionKind::kAttention, layer);
    add(RegionKind::kOutput, layer);
    add(RegionKind::kNormGateUp, layer);
    add(RegionKind::kDown, layer);
  }
  if (!spec.part.has_head) return regions;
  add(RegionKind::kHead, -1);
  add(RegionKind::kSample, -1);
  return regions;
}

}  // namespace tessera

#include "core/execute/region.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace tessera {
namespace {

ModelSpec SpecOfLayers(size_t layers) {
  ModelSpec spec;
  spec.layers.resize(layers);
  return spec;
}

TEST(Region, AModelIsEmbedThenItsLayersThenHeadAndSample) {
  const std::vector<Region> regions = BuildRegions(SpecOfLayers(2));
  const std::vector<RegionKind> layer = {RegionKind::kNormQkv, RegionKind::kAttention, RegionKind::kOutput,
                                         RegionKind::kNormGateUp, RegionKind::kDown};
  ASSERT_EQ(regions.size(), 13u);
  EXPECT_EQ(regions[0].kind, RegionKind::kEmbed);
  EXPECT_EQ(regions[0].layer, -1);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(regions[1 + i].kind, layer[i % 5]) << i;
    EXPECT_EQ(regions[1 + i].layer, static_cast<int32_t>(i / 5)) << i;
  }
  EXPECT_EQ(regions[11].kind, RegionKind::kHead);
  EXPECT_EQ(regions[12].kind, RegionKind::kSample);
  EXPECT_EQ(regions[12].layer, -1);
}

TEST(Region, PartialSumsArriveAfterTheTwoProjectionsIntoTheHiddenState) {
  for (const Region& region : BuildRegions(SpecOfLayers(3))) {
    const bool into_hidden = region.kind == RegionKind::kOutput || region.kind == RegionKind::kDown;
    EXPECT_EQ(region.reduce_after, into_hidden) << RegionName(region.kind);
    EXPECT_TRUE(region.stop_after) << RegionName(region.kind);
  }
}

TEST(Region, EveryKindHasANameOfItsOwn) {
  std::set<std::string> names;
  for (const Region& region : BuildRegions(SpecOfLayers(1))) names.insert(RegionName(region.kind));
  EXPECT_EQ(names.size(), 8u);
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace tessera

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

TEST(Region, RanksMeetInThoseTwoAndWhereTheVocabularyIsShared) {
  for (const Region& region : BuildRegions(SpecOfLayers(2))) {
    const bool vocabulary = region.kind == RegionKind::kEmbed || region.kind == RegionKind::kSample;
    EXPECT_EQ(region.gather_after, vocabulary) << RegionName(region.kind);
    EXPECT_EQ(Exchanges(region), region.reduce_after || vocabulary);
  }
}

TEST(Region, AStageHasItsLayersAndTheEndsThatItHas) {
  for (const bool first : {false, true}) {
    for (const bool last : {false, true}) {
      ModelSpec spec = SpecOfLayers(2);
      spec.part.has_embedding = first;
      spec.part.has_head = last;
      const std::vector<Region> regions = BuildRegions(spec);
      ASSERT_EQ(regions.size(), 10u + (first ? 1u : 0u) + (last ? 2u : 0u));
      EXPECT_EQ(regions.front().kind == RegionKind::kEmbed, first);
      EXPECT_EQ(regions.back().kind == RegionKind::kSample, last);
    }
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

// Decode attention alone, over a cache of SmolLM2-135M's shape (30 layers, 9 heads over 3 of keys and values,
// head size 64), for every cache type: what one token at this context costs, the whole cache read from memory
// once. Compare the types by CPU time; bytes per second with read_probe.
//   attention_bench --benchmark_filter=context:4096 --benchmark_repetitions=9
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "core/cache/cache_view.h"
#include "core/cpu/kernels/attention/attention.h"
#include "core/cpu/kernels/cache_rows/cache_rows.h"
#include "core/env/memory.h"

namespace {

using tessera::CacheType;

constexpr int32_t kLayers = 30, kKvHeads = 3, kGroup = 3, kHeadSize = 64, kBlockTokens = 16;

// Blocks in an order as sequences of any age have it.
struct Cache {
  Cache(CacheType type, int32_t tokens) {
    view.type = type;
    view.block_tokens = kBlockTokens;
    view.kv_heads = kKvHeads;
    view.head_size = kHeadSize;
    view.layer_count = kLayers;
    blocks.resize(static_cast<size_t>(tokens / kBlockTokens));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    // As engines have it: the pages' size matters as much as the type.
    region = *tessera::MemoryRegion::Create(tessera::SystemMemory(), tessera::MemoryClass::kCache,
                                            blocks.size() * view.block_bytes(), "cache");
    view.data = region.data();
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    std::vector<float> row(kHeadSize);
    for (size_t at = 0; at < region.size_bytes(); at += view.row_bytes()) {
      for (float& each : row) each = normal(random);
      tessera::cpu::StoreCacheRow(type, row.data(), kHeadSize, region.data() + at);
    }
  }
  tessera::CacheView view;
  std::vector<int32_t> blocks;
  tessera::MemoryRegion region;
};

void BM_Decode(benchmark::State& state, CacheType type) {
  const auto tokens = static_cast<int32_t>(state.range(0));
  const Cache cache(type, tokens);
  const std::vector<float> query(kKvHeads * kGroup * kHeadSize, 0.25f);
  std::vector<float> context(query.size());
  std::vector<uint8_t> memory(tessera::cpu::AttentionScratchBytes(kGroup, kHeadSize) + 64);
  void* scratch = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
  tessera::cpu::AttentionTile tile;
  tile.cache = &cache.view;
  tile.blocks = cache.blocks.data();
  tile.group = kGroup;
  tile.scale = 0.125f;
  tile.first_position = tokens - 1;
  while (state.KeepRunning()) {
    for (tile.layer_in_group = 0; tile.layer_in_group < kLayers; ++tile.layer_in_group) {
      for (tile.kv_head = 0; tile.kv_head < kKvHeads; ++tile.kv_head) {
        tile.query = query.data() + tile.kv_head * kGroup * kHeadSize;
        tile.context = context.data() + tile.kv_head * kGroup * kHeadSize;
        tessera::cpu::AttendTile(tile, scratch);
      }
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(cache.region.size_bytes()));
}

void Contexts(benchmark::internal::Benchmark* bench) { bench->ArgName("context")->Arg(512)->Arg(4096); }

BENCHMARK_CAPTURE(BM_Decode, f32, CacheType::kF32)->Apply(Contexts);
BENCHMARK_CAPTURE(BM_Decode, f16, CacheType::kF16)->Apply(Contexts);
BENCHMARK_CAPTURE(BM_Decode, bf16, CacheType::kBF16)->Apply(Contexts);
BENCHMARK_CAPTURE(BM_Decode, int8, CacheType::kInt8)->Apply(Contexts);

}  // namespace

BENCHMARK_MAIN();

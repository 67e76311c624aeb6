// A cache for the tests of attention: random keys and values in shuffled blocks; whatever no query may read
// is NaN.
#ifndef TESSERA_TESTS_CORE_CPU_PAGED_CACHE_H_
#define TESSERA_TESTS_CORE_CPU_PAGED_CACHE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "core/cpu/kernels/cache_rows/cache_rows_reference.h"
#include "tests/core/cpu/random_values.h"

namespace tessera {

struct PagedCache {
  CacheView view;
  std::vector<int32_t> blocks;
  std::vector<uint8_t> bytes;

  // Positions [first_readable, tokens) of layer `layer` hold the same values whatever block_tokens is.
  PagedCache(CacheType type, int32_t kv_heads, int32_t head_size, int32_t block_tokens, int32_t layers,
             int32_t layer, int32_t first_readable, int32_t tokens) {
    view.type = type;
    view.block_tokens = block_tokens;
    view.kv_heads = kv_heads;
    view.head_size = head_size;
    view.layer_count = layers;
    const int32_t count = (tokens + block_tokens - 1) / block_tokens + 2;
    blocks.resize(static_cast<size_t>(count));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(17));
    bytes.assign(static_cast<size_t>(count) * view.block_bytes(), 0xFF);  // NaN in every type
    view.data = bytes.data();
    const std::vector<float> keys = RandomFloats(static_cast<int64_t>(tokens) * kv_heads * head_size, 21);
    const std::vector<float> values = RandomFloats(static_cast<int64_t>(tokens) * kv_heads * head_size, 22);
    for (int32_t at = first_readable; at < tokens; ++at) {
      const int32_t block = blocks[static_cast<size_t>(at / block_tokens)];
      for (int32_t head = 0; head < kv_heads; ++head) {
        const int64_t source = (static_cast<int64_t>(at) * kv_heads + head) * head_size;
        const int64_t target = (static_cast<int64_t>(head) * block_tokens + at % block_tokens) *
                               static_cast<int64_t>(view.row_bytes());
        cpu::StoreCacheRowReference(type, &keys[static_cast<size_t>(source)], head_size,
                                    view.keys(block, layer) + target);
        cpu::StoreCacheRowReference(type, &values[static_cast<size_t>(source)], head_size,
                                    view.values(block, layer) + target);
      }
    }
  }
};

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_CPU_PAGED_CACHE_H_

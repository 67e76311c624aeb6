// Where keys and values lie: what a backend needs to know of the cache.
#ifndef TESSERA_CORE_CACHE_CACHE_VIEW_H_
#define TESSERA_CORE_CACHE_CACHE_VIEW_H_

#include <cstddef>
#include <cstdint>

namespace tessera {

enum class CacheType : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2 };

inline constexpr size_t CacheTypeBytes(CacheType type) { return type == CacheType::kF32 ? 4 : 2; }

// As the setting 'engine.cache_type' says it; any number, since files hold them too.
inline constexpr const char* CacheTypeName(int32_t type) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16"};
  return type >= 0 && type < 3 ? kNames[type] : "unknown";
}

// The cache memory of one group: for each block id, for each of the group's layers, keys then values,
// each [kv_heads, block_tokens, head_size] of the cache type.
struct CacheView {
  uint8_t* data = nullptr;
  CacheType type = CacheType::kF32;
  int32_t block_tokens = 0;
  int32_t kv_heads = 0;
  int32_t head_size = 0;
  int32_t layer_count = 0;    // layers in the group
  size_t row_bytes() const {  // the key (or value) of one token and head
    return CacheTypeBytes(type) * static_cast<size_t>(head_size);
  }
  size_t plane_bytes() const {  // keys (or values) of one layer in one block
    return row_bytes() * static_cast<size_t>(kv_heads) * block_tokens;
  }
  size_t block_bytes() const { return 2 * plane_bytes() * static_cast<size_t>(layer_count); }
  uint8_t* keys(int32_t block, int32_t layer_in_group) const {
    return data + block * block_bytes() + static_cast<size_t>(2) * layer_in_group * plane_bytes();
  }
  uint8_t* values(int32_t block, int32_t layer_in_group) const {
    return keys(block, layer_in_group) + plane_bytes();
  }
};

// Block `from` of a group is copied to block `to` before a step writes there.
struct BlockCopy {
  int32_t group = 0;
  int32_t from = 0;
  int32_t to = 0;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CACHE_CACHE_VIEW_H_

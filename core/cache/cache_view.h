// Where keys and values lie: what a backend needs to know of the cache.
#ifndef TESSERA_CORE_CACHE_CACHE_VIEW_H_
#define TESSERA_CORE_CACHE_CACHE_VIEW_H_

#include <cstddef>
#include <cstdint>

namespace tessera {

enum class CacheType : int32_t { kF32 = 0, kF16 = 1, kBF16 = 2, kInt8 = 3 };

// Elements of a row that share a scale in kInt8. A group lies in one token and head, so that what a row holds
// depends on nothing but itself.
inline constexpr int32_t kCacheGroup = 32;

// Bytes of the elements of a row, where the scales of kInt8 begin.
inline constexpr size_t CacheElementBytes(CacheType type, int32_t count) {
  const auto elements = static_cast<size_t>(count);
  if (type == CacheType::kInt8) return (elements + 1) / 2 * 2;  // scales are halves
  return elements * (type == CacheType::kF32 ? 4 : 2);
}

// Bytes of the key (or value) of one token and head: its elements, and for kInt8 an F16 scale a group.
inline constexpr size_t CacheRowBytes(CacheType type, int32_t count) {
  const size_t elements = CacheElementBytes(type, count);
  if (type != CacheType::kInt8) return elements;
  return elements + sizeof(uint16_t) * static_cast<size_t>((count + kCacheGroup - 1) / kCacheGroup);
}

// As the setting 'engine.cache_type' says it; any number, since files hold them too.
inline constexpr const char* CacheTypeName(int32_t type) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "int8"};
  return type >= 0 && type < 4 ? kNames[type] : "unknown";
}

// The cache memory of one group: for each block id, for each of the group's layers, keys then values,
// each [kv_heads, block_tokens] rows of head_size elements of the cache type.
struct CacheView {
  uint8_t* data = nullptr;
  CacheType type = CacheType::kF32;
  int32_t block_tokens = 0;
  int32_t kv_heads = 0;
  int32_t head_size = 0;
  int32_t layer_count = 0;    // layers in the group
  size_t row_bytes() const {  // the key (or value) of one token and head
    return CacheRowBytes(type, head_size);
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

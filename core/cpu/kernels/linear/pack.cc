// Re-lays the file's rows into tiles of 16 outputs (layout.h). Runs once per weight, at about the speed of
// memory.
#include <algorithm>
#include <cstring>

#include "core/cpu/kernels/linear/half.h"
#include "core/cpu/kernels/linear/layout.h"
#include "core/cpu/kernels/linear/linear.h"

namespace tessera::cpu {
namespace {

constexpr uint32_t kLowNibbles = 0x0f0f0f0f;

void Store32(uint8_t* to, uint32_t value) { std::memcpy(to, &value, sizeof(value)); }

// Writes output n's 32 columns as nibbles. `low` and `high` give quad j and quad j + 4, one value in each
// byte.
template <class Quad>
void StoreNibbles(uint8_t* nibbles, int64_t n, Quad quad) {
  for (int j = 0; j < 4; ++j) Store32(nibbles + 64 * j + 4 * n, quad(j) | quad(j + 4) << 4);
}

// The file's 4-bit block of 32: byte k holds column k low and column k + 16 high, as our vectors do.
void PackQ4Block(const uint8_t* from, bool has_minimum, int64_t n, uint8_t* block) {
  std::memcpy(block + 2 * n, from, 2);
  if (has_minimum) std::memcpy(block + 32 + 2 * n, from + 2, 2);
  const uint8_t* values = from + (has_minimum ? 4 : 2);
  uint8_t* nibbles = block + (has_minimum ? 64 : 32);
  for (int j = 0; j < 4; ++j) std::memcpy(nibbles + 64 * j + 4 * n, values + 4 * j, 4);
}

void PackQ8Block(const uint8_t* from, int64_t n, uint8_t* block) {
  std::memcpy(block + 2 * n, from, 2);
  for (int q = 0; q < 8; ++q) std::memcpy(block + 32 + 64 * q + 4 * n, from + 2 + 4 * q, 4);
}

// File: d f16, dmin f16, 12 bytes of 6-bit scales and mins, 128 bytes: 4 runs of 64 columns, the first 32
// low.
void PackQ4KBlock(const uint8_t* from, int64_t n, uint8_t* block) {
  std::memcpy(block + 2 * n, from, 2);
  std::memcpy(block + 32 + 2 * n, from + 2, 2);
  const uint8_t* fields = from + 4;
  for (int s = 0; s < 8; ++s) {
    uint8_t* group = block + kQ4_KLayout.header_bytes + s * kQ4_KLayout.group_bytes;
    group[n] =
        static_cast<uint8_t>(s < 4 ? fields[s] & 63 : (fields[s + 4] & 15) | (fields[s - 4] >> 6) << 4);
    group[16 + n] =
        static_cast<uint8_t>(s < 4 ? fields[s + 4] & 63 : fields[s + 4] >> 4 | (fields[s] >> 6) << 4);
    const uint8_t* values = from + 16 + s / 2 * 32;
    const int shift = s % 2 * 4;
    StoreNibbles(group + 32, n,
                 [&](int q) { return LoadAs<uint32_t>(values + 4 * q) >> shift & kLowNibbles; });
  }
}

// File: 128 bytes of low nibbles, 64 of high pairs, 16 int8 scales, d f16; two runs of 128 columns.
void PackQ6KBlock(const uint8_t* from, int64_t n, uint8_t* block) {
  std::memcpy(block + 2 * n, from + 208, 2);
  for (int s = 0; s < 8; ++s) {
    uint8_t* group = block + kQ6_KLayout.header_bytes + s * kQ6_KLayout.group_bytes;
    group[n] = from[192 + 2 * s];
    group[16 + n] = from[192 + 2 * s + 1];
    const uint8_t* low = from + s / 4 * 64 + s % 2 * 32;
    const uint8_t* high = from + 128 + s / 4 * 32;
    const int low_shift = s % 4 / 2 * 4;
    const int high_shift = s % 4 * 2;
    StoreNibbles(group + 32, n,
                 [&](int q) { return LoadAs<uint32_t>(low + 4 * q) >> low_shift & kLowNibbles; });
    const auto pair = [&](int q) { return LoadAs<uint32_t>(high + 4 * q) >> high_shift & 0x03030303u; };
    for (int i = 0; i < 2; ++i) {
      Store32(group + 32 + 256 + 64 * i + 4 * n,
              pair(2 * i) | pair(2 * i + 1) << 2 | pair(2 * i + 4) << 4 | pair(2 * i + 5) << 6);
    }
  }
}

template <class Element>
void PackFloatTile(int64_t columns, int64_t row_count, const uint8_t* source, uint8_t* tile) {
  constexpr int64_t kRun = 64;  // columns at a time: the tile's lines stay in the first cache
  for (int64_t begin = 0; begin < columns; begin += kRun) {
    const int64_t end = std::min(columns, begin + kRun);
    for (int64_t n = 0; n < row_count; ++n) {
      const uint8_t* row = source + static_cast<size_t>(n * columns) * sizeof(Element);
      for (int64_t k = begin; k < end; ++k) {
        std::memcpy(tile + static_cast<size_t>(k * kPackRows + n) * sizeof(Element),
                    row + static_cast<size_t>(k) * sizeof(Element), sizeof(Element));
      }
    }
  }
}

void PackQuantTile(TensorType type, const QuantLayout& layout, int64_t columns, int64_t row_count,
                   const uint8_t* source, uint8_t* tile) {
  const size_t row_bytes = RowBytes(type, static_cast<uint64_t>(columns));
  const size_t from_bytes = RowBytes(type, static_cast<uint64_t>(layout.block_columns));
  for (int64_t b = 0; b < columns / layout.block_columns; ++b) {
    uint8_t* block = tile + static_cast<size_t>(b) * layout.block_bytes();
    for (int64_t n = 0; n < row_count; ++n) {
      const uint8_t* from = source + static_cast<size_t>(n) * row_bytes + static_cast<size_t>(b) * from_bytes;
      if (type == TensorType::kQ8_0) {
        PackQ8Block(from, n, block);
      } else if (type == TensorType::kQ4_K) {
        PackQ4KBlock(from, n, block);
      } else if (type == TensorType::kQ6_K) {
        PackQ6KBlock(from, n, block);
      } else {
        PackQ4Block(from, type == TensorType::kQ4_1, n, block);
      }
    }
  }
}

}  // namespace

void PackLinear(TensorType type, int64_t rows, int64_t columns, int64_t first_row, int64_t row_count,
                const void* source, void* packed) {
  (void)rows;
  const size_t tile_bytes = TileBytes(type, columns);
  const QuantLayout* layout = FindLayout(type);
  const size_t row_bytes = RowBytes(type, static_cast<uint64_t>(columns));
  for (int64_t done = 0; done < row_count; done += kPackRows) {
    const int64_t count = std::min(kPackRows, row_count - done);
    const uint8_t* from = static_cast<const uint8_t*>(source) + static_cast<size_t>(done) * row_bytes;
    uint8_t* tile =
        static_cast<uint8_t*>(packed) + static_cast<size_t>((first_row + done) / kPackRows) * tile_bytes;
    if (count < kPackRows) {
      std::memset(tile, 0, tile_bytes);
    } else {
      std::memset(tile + tile_bytes - 64, 0, 64);  // what rounding up added holds no stray bytes
    }
    if (layout != nullptr) {
      PackQuantTile(type, *layout, columns, count, from, tile);
    } else if (type == TensorType::kF32) {
      PackFloatTile<uint32_t>(columns, count, from, tile);
    } else {
      PackFloatTile<uint16_t>(columns, count, from, tile);
    }
  }
}

}  // namespace tessera::cpu

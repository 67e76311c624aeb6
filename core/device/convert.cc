#include "core/device/convert.h"

#include <algorithm>
#include <cstring>

#include "core/cpu/kernels/linear/linear.h"

namespace tessera {
namespace {

constexpr int64_t kPieceElements = 2048;  // whole blocks of every type

uint16_t RoundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1);
  return static_cast<uint16_t>(nan ? bits >> 16 | 0x40u : rounded >> 16);
}

void RoundAll(const float* values, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = RoundToBf16(values[i]);
}

}  // namespace

void ConvertElements(TensorType from, const void* source, int64_t count, TensorType to, void* out) {
  if (from == to) {
    std::memcpy(out, source, static_cast<size_t>(count) * ElementBytes(to));
    return;
  }
  if (to == TensorType::kF32) {
    cpu::DequantizeReference(from, source, count, static_cast<float*>(out));
    return;
  }
  auto* const halves = static_cast<uint16_t*>(out);
  if (from == TensorType::kF32) {
    RoundAll(static_cast<const float*>(source), count, halves);
    return;
  }
  float piece[kPieceElements];
  const auto* const bytes = static_cast<const uint8_t*>(source);
  for (int64_t done = 0; done < count; done += kPieceElements) {
    const int64_t size = std::min(kPieceElements, count - done);
    cpu::DequantizeReference(from, bytes + RowBytes(from, static_cast<uint64_t>(done)), size, piece);
    RoundAll(piece, size, halves + done);
  }
}

}  // namespace tessera

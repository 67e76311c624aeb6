// What the tests of a layer's products compare with, for chains and for wide kernels: sums in double
// precision over values rounded as the kernels round them.
#ifndef TESSERA_TESTS_GPU_LAYER_REFERENCE_H_
#define TESSERA_TESTS_GPU_LAYER_REFERENCE_H_

#include <cmath>
#include <vector>

#include "tests/gpu/gpu_test.h"

namespace tessera::gpu {

struct LayerShape {
  int hidden, heads, kv_heads, head_size, ffn, vocabulary;
};

inline constexpr float kNormEpsilon = 1e-5f;

template <typename T>
constexpr double kLayerBound = std::is_same_v<T, __half> ? 1e-3 : 6e-3;

template <typename T>
double Rounded(double value) {
  return ToFloat(FromFloat<T>(static_cast<float>(value)));
}

// out [rows, outputs] = x [rows, columns] * weight^T
template <typename T>
std::vector<double> Product(const std::vector<double>& x, const std::vector<T>& weight, int rows,
                            int columns) {
  const size_t outputs = weight.size() / columns;
  std::vector<double> out(rows * outputs);
  std::vector<float> line(columns);
  for (size_t o = 0; o < outputs; ++o) {
    for (int c = 0; c < columns; ++c) line[c] = ToFloat(weight[o * columns + c]);
    for (int r = 0; r < rows; ++r) {
      double sum = 0;
      for (int c = 0; c < columns; ++c) sum += x[r * columns + c] * line[c];
      out[r * outputs + o] = sum;
    }
  }
  return out;
}

inline double Activated(double gate, double up) { return gate / (1 + std::exp(-gate)) * up; }

// [positions, head_size / 2]: cosine and sine.
inline std::vector<float2> RotaryTable(int positions, int head_size) {
  const int half = head_size / 2;
  std::vector<float2> table;
  for (int p = 0; p < positions; ++p) {
    for (int i = 0; i < half; ++i) {
      const double angle = p * std::pow(10000.0, -double(i) / half);
      table.push_back(make_float2(static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))));
    }
  }
  return table;
}

// A head, in place. `turns`: of its position. Pairs are (i, i + half) where `halves`, else (2i, 2i + 1).
inline void Rotate(const float2* turns, int head_size, bool halves, double* head) {
  const int half = head_size / 2;
  for (int i = 0; i < half; ++i) {
    double& a = head[halves ? i : 2 * i];
    double& b = head[halves ? i + half : 2 * i + 1];
    const double first = a * turns[i].x - b * turns[i].y;
    b = b * turns[i].x + a * turns[i].y;
    a = first;
  }
}

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_LAYER_REFERENCE_H_

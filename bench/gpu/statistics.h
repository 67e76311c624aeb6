// Medians and percentiles of measured values.
#ifndef TESSERA_BENCH_GPU_STATISTICS_H_
#define TESSERA_BENCH_GPU_STATISTICS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace tessera_bench {

// 0 of no values.
inline double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)))];
}

inline double Median(std::vector<double> values) { return Percentile(std::move(values), 0.5); }

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_STATISTICS_H_

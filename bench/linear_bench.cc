// The matrix product alone, for every weight type and some batch sizes: bytes of weights per second (compare
// with read_probe) and multiply-adds per second. Each thread works on its own tiles, as the engine's do.
//   linear_bench --benchmark_filter=Q4_K/rows:1
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "core/cpu/kernels/linear/linear.h"
#include "core/model/tensor_type.h"

namespace {

using tessera::TensorType;
using tessera::cpu::ActivationMode;

constexpr int64_t kColumns = 4096;

// As many outputs as make 64 MiB of weights in any type: beyond the last cache of most processors.
int64_t Outputs(TensorType type) {
  const int64_t rows = (int64_t{64} << 20) / static_cast<int64_t>(tessera::RowBytes(type, kColumns));
  return rows / tessera::cpu::kPackRows * tessera::cpu::kPackRows;
}

// What the threads of one benchmark share. Built by the first of them before the measured loop, whose start
// is a barrier.
struct Problem {
  std::vector<uint8_t> packed;
  std::vector<uint8_t> prepared;
  std::vector<float> out;  // [row_count, Outputs(type)]
  size_t prepared_stride = 0;
};
Problem* shared_problem = nullptr;

void Build(TensorType type, ActivationMode mode, int64_t row_count) {
  const int64_t outputs = Outputs(type);
  auto* problem = new Problem;
  // Zeros are valid in every format, and the kernels take the same time for any value.
  const std::vector<uint8_t> source(tessera::RowBytes(type, kColumns) * outputs, 0);
  problem->packed.resize(tessera::cpu::PackedLinearBytes(type, outputs, kColumns));
  tessera::cpu::PackLinear(type, outputs, kColumns, 0, outputs, source.data(), problem->packed.data());
  problem->prepared_stride = tessera::cpu::PreparedRowBytes(mode, kColumns);
  problem->prepared.resize(problem->prepared_stride * row_count);
  const std::vector<float> row(kColumns, 0.5f);
  for (int64_t r = 0; r < row_count; ++r) {
    tessera::cpu::PrepareRow(mode, row.data(), kColumns, &problem->prepared[r * problem->prepared_stride]);
  }
  problem->out.resize(row_count * outputs);
  shared_problem = problem;
}

void BM_Linear(benchmark::State& state, TensorType type, ActivationMode activations = ActivationMode::kInt8) {
  const ActivationMode mode = tessera::cpu::ModeFor(activations, type);
  const int64_t row_count = state.range(0);
  tessera::cpu::LinearLeaves leaves;  // of a sum that ranks could share, as the output and down projections
  leaves.count = static_cast<int32_t>(state.range(1));
  for (int32_t i = 0; i < leaves.count; ++i) {
    const int64_t columns = kColumns / leaves.count;
    leaves.leaves[i] = {i * columns, columns, i * columns};
  }
  if (state.thread_index() == 0) Build(type, mode, row_count);
  const int64_t rows = Outputs(type);
  const int64_t tiles = tessera::cpu::LinearTiles(rows);
  const int64_t begin = tiles * state.thread_index() / state.threads();
  const int64_t end = tiles * (state.thread_index() + 1) / state.threads();
  while (state.KeepRunning()) {
    Problem& problem = *shared_problem;
    tessera::cpu::Linear(mode, type, problem.packed.data(), rows, kColumns, begin, end,
                         problem.prepared.data(), problem.prepared_stride, row_count, nullptr, false,
                         problem.out.data(), rows, leaves.count == 1 ? nullptr : &leaves);
    benchmark::ClobberMemory();
  }
  const int64_t outputs = (end - begin) * tessera::cpu::kPackRows * state.iterations();
  state.SetBytesProcessed(outputs * static_cast<int64_t>(tessera::RowBytes(type, kColumns)));
  state.counters["madds"] =
      benchmark::Counter(static_cast<double>(outputs * kColumns * row_count), benchmark::Counter::kIsRate);
  if (state.thread_index() == 0) {
    delete shared_problem;
    shared_problem = nullptr;
  }
}

void Sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "leaves"})->ArgsProduct({{1, 8, 64}, {1, 8}})->ThreadRange(1, 2)->UseRealTime();
}

BENCHMARK_CAPTURE(BM_Linear, F32, TensorType::kF32)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, F16, TensorType::kF16)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, BF16, TensorType::kBF16)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q8_0, TensorType::kQ8_0)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q4_0, TensorType::kQ4_0)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q4_1, TensorType::kQ4_1)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q4_K, TensorType::kQ4_K)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q6_K, TensorType::kQ6_K)->Apply(Sizes);

// With F32 activations.
BENCHMARK_CAPTURE(BM_Linear, Q8_0_exact, TensorType::kQ8_0, ActivationMode::kF32)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q4_0_exact, TensorType::kQ4_0, ActivationMode::kF32)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q4_1_exact, TensorType::kQ4_1, ActivationMode::kF32)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q4_K_exact, TensorType::kQ4_K, ActivationMode::kF32)->Apply(Sizes);
BENCHMARK_CAPTURE(BM_Linear, Q6_K_exact, TensorType::kQ6_K, ActivationMode::kF32)->Apply(Sizes);

}  // namespace

BENCHMARK_MAIN();

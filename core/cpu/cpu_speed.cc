#include "core/cpu/cpu_speed.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "core/base/float_control.h"
#include "core/base/status.h"
#include "core/env/threads.h"

namespace tessera {
namespace {

constexpr size_t kLeastBytes = size_t{128} << 20;
constexpr size_t kMostBytes = size_t{512} << 20;
constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr int kRounds = 4;  // the best counts: others can only take away

// Weights that stay in a core's own cache, and as many rows as a kernel takes at once.
constexpr int64_t kOutputs = 128;
constexpr int64_t kColumns = 1024;
constexpr int64_t kRows = 64;
constexpr int64_t kCallsPerThread = 64;

// Twice the last cache, so that nothing read is still there from the round before.
size_t ProbeBytes() {
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);  // 0 or -1: the system does not say
  return std::clamp(2 * static_cast<size_t>(std::max(cache, 0L)), kLeastBytes, kMostBytes);
}

double Seconds(int64_t ns) { return static_cast<double>(std::max<int64_t>(ns, 1)) * 1e-9; }

// The best of some rounds of run(), which returns nothing.
template <typename Run>
double BestSeconds(Clock* clock, Run&& run) {
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t start = clock->NowNs();
    run();
    best = std::min(best, Seconds(clock->NowNs() - start));
  }
  return best;
}

uint64_t SumOf(const uint64_t* data, size_t count) {
  constexpr size_t kSums = 16;  // so that no addition waits for the one before
  uint64_t sums[kSums] = {};
  for (size_t i = 0; i + kSums <= count; i += kSums) {
    __builtin_prefetch(data + i + 128);  // a kilobyte ahead
    __builtin_prefetch(data + i + 136);
    for (size_t s = 0; s < kSums; ++s) sums[s] += data[i + s];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

absl::StatusOr<double> ReadRate(ThreadPool& pool, Clock* clock, MemorySource* memory) {
  const size_t bytes = ProbeBytes();
  TSR_ASSIGN_OR_RETURN(MemoryRegion region,
                       MemoryRegion::Create(memory, MemoryClass::kScratch, bytes, "the memory probe"));
  const auto pieces = static_cast<int64_t>(bytes / kPieceBytes);
  // Pages that were never written are all one page.
  auto fill = [&](int64_t piece, int) {
    uint8_t* const at = region.data() + static_cast<size_t>(piece) * kPieceBytes;
    std::fill_n(at, kPieceBytes, static_cast<uint8_t>(piece));
  };
  pool.ParallelFor(pieces, fill);
  std::vector<uint64_t> sums(static_cast<size_t>(pieces));  // kept, so that the reading is not left out
  auto read = [&](int64_t piece, int) {
    const uint8_t* const at = region.data() + static_cast<size_t>(piece) * kPieceBytes;
    sums[static_cast<size_t>(piece)] =
        SumOf(reinterpret_cast<const uint64_t*>(at), kPieceBytes / sizeof(uint64_t));
  };
  const double seconds = BestSeconds(clock, [&] { pool.ParallelFor(pieces, read); });
  const volatile uint64_t sink = sums[0] + sums[sums.size() - 1];
  static_cast<void>(sink);
  return static_cast<double>(bytes) / seconds;
}

double ProductRate(ThreadPool& pool, Clock* clock) {
  constexpr TensorType kType = TensorType::kQ8_0;
  constexpr cpu::ActivationMode kMode = cpu::ActivationMode::kInt8;
  const std::vector<uint8_t> source(RowBytes(kType, kColumns) * kOutputs);  // zeros are valid blocks
  std::vector<uint8_t> packed(cpu::PackedLinearBytes(kType, kOutputs, kColumns));
  cpu::PackLinear(kType, kOutputs, kColumns, 0, kOutputs, source.data(), packed.data());
  const size_t stride = cpu::PreparedRowBytes(kMode, kColumns);
  std::vector<uint8_t> rows(stride * kRows);
  const std::vector<float> row(kColumns, 0.5f);
  for (int64_t r = 0; r < kRows; ++r) {
    cpu::PrepareRow(kMode, row.data(), kColumns, &rows[static_cast<size_t>(r) * stride]);
  }
  std::vector<float> out(static_cast<size_t>(pool.threads()) * kRows * kOutputs);
  auto multiply = [&](int64_t, int worker) {
    cpu::Linear(kMode, kType, packed.data(), kOutputs, kColumns, 0, cpu::LinearTiles(kOutputs), rows.data(),
                stride, kRows, nullptr, false, &out[static_cast<size_t>(worker) * kRows * kOutputs],
                kOutputs);
  };
  const int64_t calls = kCallsPerThread * pool.threads();
  const double seconds = BestSeconds(clock, [&] { pool.ParallelFor(calls, multiply); });
  return static_cast<double>(calls * kOutputs * kColumns * kRows) / seconds;
}

}  // namespace

absl::StatusOr<MachineSpeed> ProbeCpu(int32_t threads, Clock* clock, MemorySource* memory) {
  const ScopedFloatControl float_control;
  TSR_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Create(threads));
  pool->Wake();
  MachineSpeed speed;
  absl::StatusOr<double> rate = ReadRate(*pool, clock, memory);
  if (rate.ok()) {
    speed.read_bytes_per_second = *rate;
    speed.products_per_second = ProductRate(*pool, clock);
  }
  pool->Sleep();
  TSR_RETURN_IF_ERROR(rate.status());
  return speed;
}

// Measured with linear_bench (rows:1, rows:64) beside read_probe, and with plan_bench.
SpeedModel CpuSpeedModel(const MachineSpeed& machine, int32_t threads, cpu::ActivationMode activations) {
  struct Row {
    TensorType type;
    SpeedModel::Shares shares;
  };
  static constexpr Row kRowsOfTable[] = {
      {TensorType::kF32, {0.95, 0.24, 0.05}},  {TensorType::kF16, {0.95, 0.27, 0.05}},
      {TensorType::kBF16, {0.95, 0.27, 0.05}}, {TensorType::kQ8_0, {0.97, 0.85, 0.25}},
      {TensorType::kQ4_0, {0.97, 0.88, 0.25}}, {TensorType::kQ4_1, {0.97, 0.87, 0.25}},
      {TensorType::kQ4_K, {0.97, 0.86, 0.25}}, {TensorType::kQ6_K, {0.95, 0.64, 0.25}},
  };
  // Of quantised weights, which are unpacked to F32 then.
  constexpr SpeedModel::Shares kWithF32Activations = {0.95, 0.25, 0.05};
  SpeedModel model;
  model.machine = machine;
  for (const Row& row : kRowsOfTable) {
    const bool unpacked = activations == cpu::ActivationMode::kF32 &&
                          cpu::ModeFor(cpu::ActivationMode::kInt8, row.type) == cpu::ActivationMode::kInt8;
    model.types[static_cast<size_t>(row.type)] = unpacked ? kWithF32Activations : row.shares;
  }
  model.attention = {0.2, 0.15, 0.05};
  model.region_seconds = threads == 1 ? 1e-6 : 6e-6;  // forks and joins
  return model;
}

}  // namespace tessera

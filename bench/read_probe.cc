// How fast this machine streams through memory: the limit that decoding is held against. Every thread reads
// its own buffer, larger than any cache, from end to end. Prints JSON. Knows nothing of Tessera.
//   read_probe [--threads N] [--megabytes PER_THREAD] [--repetitions N]
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace {

// Any x86-64 has registers of 16 bytes; wider loads would not make the memory faster.
typedef uint64_t Lanes __attribute__((vector_size(16)));
constexpr size_t kStreams = 8;  // independent sums, so that no load waits for an addition

uint64_t Sum(const Lanes* data, size_t count) {
  Lanes sums[kStreams] = {};
  for (size_t i = 0; i + kStreams <= count; i += kStreams) {
    __builtin_prefetch(data + i + 64);  // 1 KiB ahead: the best of none, 1, 2 and 4
    __builtin_prefetch(data + i + 68);
    for (size_t s = 0; s < kStreams; ++s) sums[s] += data[i + s];
  }
  uint64_t total = 0;
  for (const Lanes& sum : sums) total += sum[0] + sum[1];
  return total;
}

// Huge pages where the system has them: small ones would measure the page tables too. Written by the thread
// that reads it, so that its pages are near it.
class Buffer {
 public:
  Buffer(size_t bytes, uint64_t value) {
    constexpr size_t kHugePage = size_t{1} << 21;
    data_ =
        static_cast<Lanes*>(std::aligned_alloc(kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage));
    if (data_ == nullptr) {
      std::fprintf(stderr, "read_probe: no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    madvise(data_, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes / sizeof(Lanes); ++i) data_[i] = Lanes{value, value + 1};
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  const Lanes* get() const { return data_; }

 private:
  Lanes* data_;
};

// Lets all threads go at once, again and again.
class Gate {
 public:
  explicit Gate(int threads) : threads_(threads) {}
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int64_t round = round_;
    if (++waiting_ == threads_) {
      waiting_ = 0;
      ++round_;
      passed_.notify_all();
      return;
    }
    passed_.wait(lock, [&] { return round_ != round; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable passed_;
  const int threads_;
  int waiting_ = 0;
  int64_t round_ = 0;
};

int64_t Option(int argc, char** argv, const char* name, int64_t fallback) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], name) == 0) return std::atoll(argv[i + 1]);
  }
  return fallback;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = static_cast<int>(Option(argc, argv, "--threads", std::thread::hardware_concurrency()));
  const int64_t bytes = Option(argc, argv, "--megabytes", 512) << 20;  // of each thread
  const int64_t repetitions = Option(argc, argv, "--repetitions", 5);
  if (threads < 1 || threads > 1024 || bytes < 1 || repetitions < 1) {
    std::fprintf(stderr, "read_probe: --threads, --megabytes and --repetitions must be positive\n");
    return 2;
  }

  Gate gate(threads + 1);
  std::vector<uint64_t> totals(threads);
  std::vector<std::thread> readers;
  readers.reserve(threads);
  for (int t = 0; t < threads; ++t) {
    readers.emplace_back([&, t] {
      Buffer data(bytes, static_cast<uint64_t>(t) + 1);
      uint64_t total = 0;
      for (int64_t r = 0; r < repetitions; ++r) {
        gate.Pass();
        total += Sum(data.get(), bytes / sizeof(Lanes));
        gate.Pass();
      }
      totals[t] = total;
    });
  }
  std::vector<double> rates;  // GB/s
  for (int64_t r = 0; r < repetitions; ++r) {
    gate.Pass();
    const auto start = std::chrono::steady_clock::now();
    gate.Pass();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    rates.push_back(static_cast<double>(bytes) * threads / elapsed.count() / 1e9);
  }
  for (std::thread& reader : readers) reader.join();

  uint64_t sum = 0;
  for (uint64_t total : totals) sum += total;
  std::sort(rates.begin(), rates.end());
  // The sum is printed so that no compiler may leave the reading out.
  std::printf("{\"threads\": %d, \"read_gb_per_s\": %.3f, \"best_gb_per_s\": %.3f, \"sum\": %llu}\n", threads,
              rates[rates.size() / 2], rates.back(), static_cast<unsigned long long>(sum));
  return 0;
}

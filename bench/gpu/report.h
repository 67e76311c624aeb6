// Results: one JSON object a line as bench/README.md says, and a table at the end. And what a peer measured.
#ifndef TESSERA_BENCH_GPU_REPORT_H_
#define TESSERA_BENCH_GPU_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/gpu/arguments.h"
#include "bench/gpu/statistics.h"

namespace tessera_bench {

struct Record {
  std::string name;
  double value = 0;
  std::string unit;
  std::optional<double> share_of_limit;
  // Of a time: the peer's, in the same unit. ratio_to_peer is it over ours: above 1, ours is faster.
  std::optional<double> peer_time;
  std::vector<double> runs;
  std::string more;  // further members, as JSON: "\"p50\": 1"
};

// Lines of torch_decoder.py, if there are any.
class Peer {
 public:
  Peer() = default;
  explicit Peer(const std::string& file);
  // Milliseconds, the fastest of its modes; nothing where it did not measure that.
  std::optional<double> DecodeMs(const std::string& shape, int64_t batch, int64_t context) const;
  std::optional<double> PromptMs(const std::string& shape, int64_t batch, int64_t context) const;
  double tera_products() const { return tera_products_; }  // a second, of matrices; 0: not measured

 private:
  struct Row {
    std::string shape;
    int64_t batch = 0;
    int64_t context = 0;
    double decode_ms = 0;
    double prompt_ms = 0;
  };
  template <typename Time>
  std::optional<double> Fastest(const std::string& shape, int64_t batch, int64_t context, Time time) const;
  std::vector<Row> rows_;
  double tera_products_ = 0;
};

class Report {
 public:
  Report(const Arguments& arguments, const std::string& device);
  void Add(const Record& record);  // writes it at once
  void PrintTable() const;

 private:
  const Arguments& a_;
  std::string device_;
  std::string date_;
  std::vector<Record> records_;
};

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_REPORT_H_

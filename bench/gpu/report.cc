#include "bench/gpu/report.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "bench/host.h"

namespace tessera_bench {
namespace {

const char kPeerName[] = "PyTorch (torch_decoder.py)";

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return quoted + "\"";
}

std::string Digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

std::string OrNull(std::optional<double> value) { return value ? Digits(*value) : "null"; }

// What stands behind "key": in a line that holds one flat object; empty: no such member.
std::string Member(const std::string& line, const std::string& key) {
  const size_t at = line.find("\"" + key + "\":");
  if (at == std::string::npos) return "";
  const size_t begin = line.find_first_not_of(' ', at + key.size() + 3);
  if (begin == std::string::npos) return "";
  if (line[begin] == '"') return line.substr(begin + 1, line.find('"', begin + 1) - begin - 1);
  return line.substr(begin, line.find_first_of(",}", begin) - begin);
}

std::optional<double> Ratio(const Record& record) {
  if (!record.peer_time) return std::nullopt;
  return *record.peer_time / record.value;
}

}  // namespace

Peer::Peer(const std::string& file) {
  std::ifstream in(file);
  if (!in) Fail("gpu_bench", file.c_str(), "cannot be read");
  for (std::string line; std::getline(in, line);) {
    const std::string products = Member(line, "bf16_TFLOPs");
    if (!products.empty()) tera_products_ = std::atof(products.c_str()) / 2;
    if (Member(line, "decode_ms").empty()) continue;
    Row row;
    row.shape = Member(line, "shape");
    row.batch = std::atoll(Member(line, "batch").c_str());
    row.context = std::atoll(Member(line, "context").c_str());
    row.decode_ms = std::atof(Member(line, "decode_ms").c_str());
    row.prompt_ms = std::atof(Member(line, "prefill_ms").c_str());
    if (std::atoi(Member(line, "tp").c_str()) == 1) rows_.push_back(row);
  }
}

template <typename Time>
std::optional<double> Peer::Fastest(const std::string& shape, int64_t batch, int64_t context,
                                    Time time) const {
  std::optional<double> fastest;
  for (const Row& row : rows_) {
    if (row.shape != shape || row.batch != batch || row.context != context || time(row) <= 0) continue;
    fastest = std::min(fastest.value_or(time(row)), time(row));
  }
  return fastest;
}

std::optional<double> Peer::DecodeMs(const std::string& shape, int64_t batch, int64_t context) const {
  return Fastest(shape, batch, context, [](const Row& row) { return row.decode_ms; });
}

std::optional<double> Peer::PromptMs(const std::string& shape, int64_t batch, int64_t context) const {
  return Fastest(shape, batch, context, [](const Row& row) { return row.prompt_ms; });
}

Report::Report(const Arguments& arguments, const std::string& device) : a_(arguments), device_(device) {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::localtime(&now));
  date_ = text;
}

void Report::Add(const Record& record) {
  records_.push_back(record);
  std::string line = "{\"name\": " + Quoted(record.name) + ", \"value\": " + Digits(record.value) +
                     ", \"unit\": " + Quoted(record.unit) +
                     ", \"share_of_limit\": " + OrNull(record.share_of_limit) +
                     ", \"peer\": " + (record.peer_time ? Quoted(kPeerName) : "null") +
                     ", \"ratio_to_peer\": " + OrNull(Ratio(record));
  if (record.peer_time) line += ", \"peer_value\": " + Digits(*record.peer_time);
  if (!record.runs.empty()) {
    line += ", \"runs\": [";
    for (size_t i = 0; i < record.runs.size(); ++i) line += (i == 0 ? "" : ", ") + Digits(record.runs[i]);
    line += "]";
  }
  if (!record.more.empty()) line += ", " + record.more;
  line += ", \"device\": " + Quoted(device_) + ", \"date\": " + Quoted(date_) +
          ", \"commit\": " + Quoted(a_.commit) + ", \"command\": " + Quoted(a_.command) + "}\n";
  std::printf("%-60s %10s %s\n", record.name.c_str(), Digits(record.value).c_str(), record.unit.c_str());
  std::fflush(stdout);
  if (a_.out.empty()) return;
  std::ofstream out(a_.out, std::ios::app);
  if (!(out << line).flush()) Fail("gpu_bench", a_.out.c_str(), "cannot be written");
}

void Report::PrintTable() const {
  std::printf("\n%s\n%-58s %10s %-16s %6s %8s %6s\n", device_.c_str(), "", "value", "unit", "share", "peer",
              "ratio");
  for (const Record& record : records_) {
    const auto text = [](std::optional<double> value, const char* format) {
      char number[32] = "";
      if (value) std::snprintf(number, sizeof number, format, *value);
      return std::string(number);
    };
    std::printf("%-58s %10s %-16s %6s %8s %6s\n", record.name.c_str(), Digits(record.value).c_str(),
                record.unit.c_str(), text(record.share_of_limit, "%.3f").c_str(),
                text(record.peer_time, "%.5g").c_str(), text(Ratio(record), "%.2f").c_str());
  }
}

}  // namespace tessera_bench

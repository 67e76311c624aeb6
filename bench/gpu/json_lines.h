// Results of the programs that measure kernels: a file that gets one JSON object a line, as bench/README.md
// says, and the options on the command line that those programs have in common.
#ifndef TESSERA_BENCH_GPU_JSON_LINES_H_
#define TESSERA_BENCH_GPU_JSON_LINES_H_

#include <cstdio>
#include <string>

namespace tessera_bench {

// What the lines say of the run.
struct RunOptions {
  std::string date = "unknown";
  std::string commit = "unknown";
  std::string out;  // file; empty: none
  bool sweep = false;
};

// If argv[*i] is --date, --commit, --out, each with a value, or --sweep: takes it, and moves *i to its last
// word.
bool TakeRunOption(int argc, char** argv, int* i, RunOptions* options);
// Takes all words; where one is none of those prints how `program` is used, and exits.
RunOptions ParseRunOptions(const char* program, int argc, char** argv);

struct Line {
  std::string name;
  double value = 0;
  int digits = 2;  // of value, behind the point
  const char* unit = "us";
  double share_of_limit = 0;   // 0: none
  const char* peer = nullptr;  // null: none
  double ratio_to_peer = 0;
  int ratio_digits = 3;
};

class JsonLines {
 public:
  // `command`: what measured.
  JsonLines(const RunOptions& options, std::string device, std::string command);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;
  void Add(const Line& line);  // at once; nothing where there is no file

 private:
  const RunOptions options_;
  const std::string device_;
  const std::string command_;
  std::FILE* file_ = nullptr;
};

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_JSON_LINES_H_

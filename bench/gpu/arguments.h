// What gpu_bench is told on its command line.
#ifndef TESSERA_BENCH_GPU_ARGUMENTS_H_
#define TESSERA_BENCH_GPU_ARGUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tessera_bench {

struct Arguments {
  std::string device = "cuda";  // as "model.device"
  std::string shape = "8b";
  std::string type = "bf16";
  bool tied = false;  // the head is the embedding table
  std::vector<std::string> only;
  std::vector<int64_t> batches = {1, 16, 64};
  int64_t context = 1024;  // tokens before the first decoded one
  int64_t steps = 64;      // measured in a run
  int64_t runs = 3;
  int64_t host_steps = 100;
  std::vector<int64_t> prompts = {1, 16};  // at once
  int64_t prompt_tokens = 1024;
  std::vector<int64_t> batch_tokens = {4096, 16384};  // "engine.batch_tokens", of which the fastest counts
  int64_t requests = 512;
  int64_t request_in = 512;
  int64_t request_out = 256;
  int64_t sequences = 256;  // "engine.batch_sequences" for the requests
  int64_t request_batch_tokens = 4096;
  int64_t cancels = 100;
  int64_t cancel_prompt = 8192;
  int64_t random_cancels = 500;
  int64_t load_threads = 8;
  std::string folder;  // for load_file; empty: not measured
  std::string peer;    // file of the peer's lines
  std::string out;     // gets lines appended
  std::string commit = "unknown";
  double read_limit = 0;  // GB/s; 0: measured
  std::string command;    // all of it; of paths the last part

  bool wanted(const std::string& section) const;
  std::string model_name() const { return shape + (tied ? "-tied/" : "/") + type; }
};

// Ends the program where something is wrong, with a list of the options.
Arguments ParseArguments(int argc, char** argv);

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_ARGUMENTS_H_

// Sessions that decode side by side after prompts of one length, as often as wanted.
#ifndef TESSERA_BENCH_GPU_DECODE_GROUP_H_
#define TESSERA_BENCH_GPU_DECODE_GROUP_H_

#include <cstdint>
#include <vector>

#include "bench/gpu/bench_engine.h"

namespace tessera_bench {

constexpr int64_t kWarmUpSteps = 6;
constexpr int64_t kSlackSteps = 64;  // sessions begin some steps apart, and events are seen some steps late

struct DecodeRun {
  double step_ms = 0;
  double mean_context = 0;    // tokens
  double device_ms = 0;       // its time in a step; 0 where no GPU computes, likewise below
  double idle_percent = 0;    // of the device's time between steps of which the next was already there
  double unused_percent = 0;  // of the wall time in which no step ran on the device
  double processor_us = 0;    // a step, of all threads of the process
  uint64_t region_ns[16] = {};
  uint64_t device_steps = 0;
};

class DecodeGroup {
 public:
  // What an engine needs for this.
  static EngineSettings Settings(int64_t batch, int64_t context, int64_t steps);

  // Computes the prompts.
  DecodeGroup(BenchEngine* engine, int64_t batch, int64_t context);
  ~DecodeGroup();
  DecodeGroup(const DecodeGroup&) = delete;
  DecodeGroup& operator=(const DecodeGroup&) = delete;

  // Back to the end of the prompts, then so many steps in which all sessions decode. Threaded engines.
  DecodeRun Run(int64_t steps, double temperature, double top_p);
  // On a stepped engine: milliseconds of each tsr_engine_step, before which the device was left so much time
  // that it had nothing to do any more.
  std::vector<double> RunApart(int64_t steps, double pause_ms);

 private:
  void Begin(int64_t new_tokens, double temperature, double top_p);
  // Whether the sessions ran side by side for so many steps; else this thread was held up.
  bool TryRun(int64_t steps, double temperature, double top_p, DecodeRun* run);

  BenchEngine* engine_;
  int64_t context_;
  std::vector<tsr_session*> sessions_;
};

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_DECODE_GROUP_H_

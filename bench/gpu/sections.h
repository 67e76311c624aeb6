// The parts of gpu_bench: each measures one thing through the public API and reports it.
#ifndef TESSERA_BENCH_GPU_SECTIONS_H_
#define TESSERA_BENCH_GPU_SECTIONS_H_

#include <optional>

#include "bench/gpu/arguments.h"
#include "bench/gpu/report.h"
#include "bench/shaped_model.h"
#include "tessera/tessera.h"

namespace tessera_bench {

struct Place {
  const Arguments& a;
  tsr_runtime* runtime;
  tsr_model* model;  // null in the sections that load
  ShapedModel& shaped;
  const ModelShape& shape;
  const Peer& peer;
  Report& report;
  double read_limit;  // GB/s; 0: not known

  bool on_gpu() const { return a.device != "cpu" && a.device != "reference"; }
  std::optional<double> ShareOfRead(double bytes, double ms) const {
    if (read_limit <= 0) return std::nullopt;
    return bytes / 1e6 / ms / read_limit;
  }
};

// Whole loads, from the call to the first token, beside what copying and DMA alone reach.
void MeasureLoad(const Place& place);
// The same from a file in the page cache, written to --folder first.
void MeasureLoadFile(const Place& place);
// Greedy decoding: time a step, share of the read limit, idle time of the device, processor time.
void MeasureDecode(const Place& place);
// What the engine costs the thread that steps it, where nothing is left to wait for.
void MeasureHost(const Place& place);
// Top-p sampling against greedy.
void MeasureSampling(const Place& place);
// Batch-invariant mode against the normal one.
void MeasureInvariant(const Place& place);
// The device's time by region, in another mode than decoding's own: nothing but a ledger.
void MeasureRegions(const Place& place);
// Prompts that are submitted at once, to the last one's first token.
void MeasurePrompt(const Place& place);
// Many requests: output tokens a second.
void MeasureThroughput(const Place& place);
// From a cancel in a long prompt to its terminal event, and to its blocks' return.
void MeasureCancel(const Place& place);
// Random cancels, after which every block must be free. Ends the program where one is not.
void MeasureSoak(const Place& place);

}  // namespace tessera_bench

#endif  // TESSERA_BENCH_GPU_SECTIONS_H_

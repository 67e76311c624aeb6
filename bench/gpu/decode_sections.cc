// Decoding: greedy, sampled, batch-invariant, and what it costs the host.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>

#include "bench/gpu/decode_group.h"
#include "bench/gpu/sections.h"

namespace tessera_bench {
namespace {

// All batch sizes in one engine, which is made for the largest.
EngineSettings SettingsFor(const Place& place, int64_t steps) {
  const int64_t most = *std::max_element(place.a.batches.begin(), place.a.batches.end());
  return DecodeGroup::Settings(most, place.a.context, steps);
}

std::string Suffix(const Place& place, int64_t batch) {
  return place.a.model_name() + "/batch" + std::to_string(batch) + "/context" +
         std::to_string(place.a.context);
}

// One figure of each run, and their median.
Record Of(const std::string& name, const std::string& unit, const std::vector<DecodeRun>& runs,
          const std::function<double(const DecodeRun&)>& figure) {
  Record record;
  record.name = name;
  record.unit = unit;
  for (const DecodeRun& run : runs) record.runs.push_back(figure(run));
  record.value = Median(record.runs);
  return record;
}

double StepMs(const DecodeRun& run) { return run.step_ms; }

void ReportDecode(const Place& place, int64_t batch, double cache_bytes, const std::vector<DecodeRun>& runs) {
  const std::string name = "decode/" + Suffix(place, batch);
  Record step = Of(name, "ms", runs, StepMs);
  const double bytes = static_cast<double>(place.shaped.step_bytes()) +
                       static_cast<double>(batch) * runs[0].mean_context * cache_bytes;
  step.share_of_limit = place.ShareOfRead(bytes, step.value);
  if (place.a.type == "bf16") {
    step.peer_time = place.peer.DecodeMs(place.a.shape, batch, place.a.context);
  }
  char more[160];
  std::snprintf(more, sizeof more, "\"bytes\": %.6g, \"mean_context\": %.1f, \"read_limit_GBps\": %.1f",
                bytes, runs[0].mean_context, place.read_limit);
  step.more = more;
  place.report.Add(step);
  place.report.Add(
      Of(name + "/processor", "us a step", runs, [](const DecodeRun& run) { return run.processor_us; }));
  if (runs[0].device_steps == 0) return;
  Record device = Of(name + "/device", "ms", runs, [](const DecodeRun& run) { return run.device_ms; });
  device.share_of_limit = place.ShareOfRead(bytes, device.value);
  place.report.Add(device);
  place.report.Add(
      Of(name + "/idle_between_steps", "%", runs, [](const DecodeRun& run) { return run.idle_percent; }));
  place.report.Add(
      Of(name + "/outside_steps", "%", runs, [](const DecodeRun& run) { return run.unused_percent; }));
}

}  // namespace

void MeasureDecode(const Place& place) {
  BenchEngine engine(place.runtime, place.model, SettingsFor(place, place.a.steps));
  for (const int64_t batch : place.a.batches) {
    DecodeGroup group(&engine, batch, place.a.context);
    group.Run(place.a.steps, 0, 1);  // not counted
    std::vector<DecodeRun> runs;
    for (int64_t i = 0; i < place.a.runs; ++i) runs.push_back(group.Run(place.a.steps, 0, 1));
    ReportDecode(place, batch, engine.CacheBytesPerToken(), runs);
  }
}

void MeasureHost(const Place& place) {
  EngineSettings settings = SettingsFor(place, place.a.host_steps);
  settings.stepped = true;
  BenchEngine engine(place.runtime, place.model, settings);
  for (const int64_t batch : place.a.batches) {
    DecodeGroup group(&engine, batch, place.a.context);
    const double step_ms = Median(group.RunApart(kWarmUpSteps, 0));  // with all waiting
    // Two steps may be on their way.
    const std::vector<double> times = group.RunApart(place.a.host_steps, 3 * step_ms + 0.5);
    Record record;
    record.name = "host/" + Suffix(place, batch);
    record.unit = "us a step";
    record.value = 1e3 * Median(times);
    char more[64];
    std::snprintf(more, sizeof more, "\"p99\": %.1f, \"count\": %zu", 1e3 * Percentile(times, 0.99),
                  times.size());
    record.more = more;
    place.report.Add(record);
  }
}

void MeasureSampling(const Place& place) {
  // Random weights give nearly equal probabilities, of which top-p keeps tens of thousands; with the low
  // temperature they are as uneven as a trained model's.
  const struct {
    const char* name;
    double temperature;
  } ways[] = {{"top_p0.9/temperature0.8", 0.8}, {"top_p0.9/temperature0.1", 0.1}};
  BenchEngine engine(place.runtime, place.model, SettingsFor(place, place.a.steps));
  for (const int64_t batch : place.a.batches) {
    DecodeGroup group(&engine, batch, place.a.context);
    group.Run(place.a.steps, ways[0].temperature, 0.9);  // not counted
    std::vector<DecodeRun> greedy, sampled[2];
    for (int64_t i = 0; i < place.a.runs; ++i) {
      greedy.push_back(group.Run(place.a.steps, 0, 1));
      for (size_t way = 0; way < 2; ++way) {
        sampled[way].push_back(group.Run(place.a.steps, ways[way].temperature, 0.9));
      }
    }
    const double base_ms = Of("", "", greedy, StepMs).value;
    for (size_t way = 0; way < 2; ++way) {
      const std::string name = std::string("sampling/") + ways[way].name + "/" + Suffix(place, batch);
      place.report.Add(Of(name, "us over greedy", sampled[way],
                          [&](const DecodeRun& run) { return 1e3 * (run.step_ms - base_ms); }));
    }
  }
}

void MeasureInvariant(const Place& place) {
  EngineSettings settings = SettingsFor(place, place.a.steps);
  BenchEngine normal(place.runtime, place.model, settings);
  settings.batch_invariant = true;
  BenchEngine invariant(place.runtime, place.model, settings);
  for (const int64_t batch : place.a.batches) {
    DecodeGroup one(&normal, batch, place.a.context), other(&invariant, batch, place.a.context);
    one.Run(place.a.steps, 0, 1);  // not counted
    other.Run(place.a.steps, 0, 1);
    std::vector<DecodeRun> ones, others;
    for (int64_t i = 0; i < place.a.runs; ++i) {
      ones.push_back(one.Run(place.a.steps, 0, 1));
      others.push_back(other.Run(place.a.steps, 0, 1));
    }
    const double base_ms = Of("", "", ones, StepMs).value;
    place.report.Add(Of("batch_invariant/" + Suffix(place, batch), "% over normal", others,
                        [&](const DecodeRun& run) { return 100 * (run.step_ms / base_ms - 1); }));
  }
}

void MeasureRegions(const Place& place) {
  const char* const names[] = {"embed",        "norm_qkv", "attention", "output",
                               "norm_gate_up", "down",     "head",      "sample"};
  EngineSettings settings = SettingsFor(place, place.a.steps);
  settings.time_regions = true;
  BenchEngine engine(place.runtime, place.model, settings);
  for (const int64_t batch : place.a.batches) {
    DecodeGroup group(&engine, batch, place.a.context);
    group.Run(place.a.steps, 0, 1);  // not counted
    const std::vector<DecodeRun> runs = {group.Run(place.a.steps, 0, 1)};
    if (runs[0].device_steps == 0) return;
    for (size_t i = 0; i < std::size(names); ++i) {
      place.report.Add(Of("region/" + std::string(names[i]) + "/" + Suffix(place, batch), "us a step", runs,
                          [&](const DecodeRun& run) {
                            return static_cast<double>(run.region_ns[i]) / 1e3 /
                                   static_cast<double>(run.device_steps);
                          }));
    }
  }
}

}  // namespace tessera_bench

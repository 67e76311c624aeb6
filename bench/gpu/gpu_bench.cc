// The figures by which a device's backend is judged, as a program that uses the library would see them:
// through the public API, on models of real shapes with random weights, beside limits measured in the same
// run. Writes JSON lines (--out) and a table. Runs on the CPU too (--device cpu --shape tiny).
//   gpu_bench [--shape 8b] [--only decode,prompt,...] [--out FILE.jsonl] [--peer FILE] ...
// An option that is not known brings the list of all.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>

#include "bench/gpu/arguments.h"
#include "bench/gpu/read_limit.h"
#include "bench/gpu/report.h"
#include "bench/gpu/sections.h"
#include "bench/host.h"

namespace tessera_bench {
namespace {

constexpr uint64_t kPoolBytes = uint64_t{1} << 30;  // what is read from the host is not in its caches

struct Section {
  const char* name;
  void (*measure)(const Place& place);
  bool only_when_named;
};
constexpr Section kLoading[] = {{"load", MeasureLoad, false}, {"load_file", MeasureLoadFile, false}};
constexpr Section kLoaded[] = {{"decode", MeasureDecode, false},
                               {"host", MeasureHost, false},
                               {"sampling", MeasureSampling, false},
                               {"invariant", MeasureInvariant, false},
                               {"regions", MeasureRegions, true},
                               {"prompt", MeasurePrompt, false},
                               {"throughput", MeasureThroughput, false},
                               {"cancel", MeasureCancel, false},
                               {"soak", MeasureSoak, false}};

template <size_t kCount>
bool AnyWanted(const Arguments& a, const Section (&sections)[kCount]) {
  return std::any_of(sections, sections + kCount, [&](const Section& section) {
    return a.wanted(section.name) && !(a.only.empty() && section.only_when_named);
  });
}

template <size_t kCount>
void Measure(const Place& place, const Section (&sections)[kCount]) {
  for (const Section& section : sections) {
    if (!place.a.wanted(section.name) || (place.a.only.empty() && section.only_when_named)) continue;
    const auto start = std::time(nullptr);
    section.measure(place);
    std::printf("%s took %lld s\n", section.name, static_cast<long long>(std::time(nullptr) - start));
    std::fflush(stdout);
  }
}

tsr_model* LoadModelFor(const Arguments& a, tsr_runtime* runtime, ShapedModel* shaped) {
  tsr_options* options = NewOptions();
  SetString(options, "model.device", a.device);
  SetInt(options, "model.load_threads", a.load_threads);
  SetInt(options, "model.read_threads", a.load_threads);
  const tsr_reader reader = shaped->Reader();
  tsr_model* model = nullptr;
  Must must("load");
  must = tsr_model_load_reader(runtime, &reader, options, &model, must);
  tsr_options_release(options);
  return model;
}

// The name of where models lie: told by a model, the smallest there is.
std::string DeviceName(const Arguments& a, tsr_runtime* runtime) {
  ModelShape shape;
  FindShape("tiny", &shape);
  shape.type = a.type;
  ShapedModel shaped(shape);
  tsr_model* const model = LoadModelFor(a, runtime, &shaped);
  tsr_model_info info = {};
  info.struct_size = sizeof info;
  Must must("info");
  must = tsr_model_get_info(model, &info, must);
  tsr_model_release(model);
  return info.device;
}

void MeasureAll(const Arguments& a) {
  ModelShape shape;
  FindShape(a.shape, &shape);
  shape.tied = a.tied;
  shape.type = a.type;
  const bool on_gpu = a.device != "cpu" && a.device != "reference";
  const double read_limit = a.read_limit > 0 || !on_gpu ? a.read_limit : DeviceReadGBps();
  ShapedModel shaped(shape, on_gpu ? kPoolBytes : 0);
  const Peer peer = a.peer.empty() ? Peer() : Peer(a.peer);
  tsr_runtime* runtime = nullptr;
  Must created("runtime");
  created = tsr_runtime_create(nullptr, &runtime, created);
  Report report(a, DeviceName(a, runtime));
  if (on_gpu) {
    report.Add({"limit/read", read_limit, "GB/s", {}, {}, {}, ""});
    report.Add({"limit/pinned_to_device", PinnedCopyGBps(), "GB/s", {}, {}, {}, ""});
  }
  Place place = {a, runtime, nullptr, shaped, shape, peer, report, read_limit};
  Measure(place, kLoading);
  if (AnyWanted(a, kLoaded)) {
    place.model = LoadModelFor(a, runtime, &shaped);
    Measure(place, kLoaded);
    tsr_model_release(place.model);
  }
  tsr_runtime_release(runtime);
  report.PrintTable();
}

}  // namespace
}  // namespace tessera_bench

int main(int argc, char** argv) {
  tessera_bench::MeasureAll(tessera_bench::ParseArguments(argc, argv));
  return 0;
}

// Loading: from the call to the first token.
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>

#include "bench/gpu/bench_engine.h"
#include "bench/gpu/read_limit.h"
#include "bench/gpu/sections.h"

namespace tessera_bench {
namespace {

struct LoadTimes {
  double load_ms = 0;    // until the model is there
  double engine_ms = 0;  // until the engine is, its graphs included
  double token_ms = 0;   // until the first token is polled
  double all_ms() const { return load_ms + engine_ms + token_ms; }
};

using Load = std::function<tsr_model*(const tsr_options*)>;

LoadTimes LoadOnce(const Place& place, const Load& load) {
  tsr_options* options = NewOptions();
  SetString(options, "model.device", place.a.device);
  SetInt(options, "model.load_threads", place.a.load_threads);
  SetInt(options, "model.read_threads", place.a.load_threads);
  LoadTimes times;
  const Clock::time_point start = Clock::now();
  tsr_model* const model = load(options);
  const Clock::time_point loaded = Clock::now();
  tsr_options_release(options);
  {
    EngineSettings settings;
    settings.context_tokens = 1024;
    BenchEngine engine(place.runtime, model, settings);
    const Clock::time_point made = Clock::now();
    tsr_session* const session = engine.NewSession();
    engine.AppendRandom(session, 1);
    RequestSettings request;
    request.new_tokens = 1;
    engine.Generate(session, request, 0);
    bool first = false;
    while (!first) {
      engine.Poll(
          -1, [&](uint64_t, int64_t count) { first = first || count > 0; },
          [](uint64_t, const tsr_event_finished&) {});
    }
    const Clock::time_point answered = Clock::now();
    tsr_session_release(session);
    times = {Milliseconds(loaded - start), Milliseconds(made - loaded), Milliseconds(answered - made)};
  }
  tsr_model_release(model);
  return times;
}

// `probe_gbps`: what the same bytes reach without the library; 0: not known.
void ReportLoad(const Place& place, const std::string& section, double probe_gbps, const Load& load) {
  const std::string name = section + "/" + place.a.model_name();
  const auto bytes = static_cast<double>(place.shaped.file_bytes());
  std::vector<double> rates, load_ms, engine_ms, token_ms, all_ms;
  for (int64_t run = 0; run < place.a.runs; ++run) {
    const LoadTimes times = LoadOnce(place, load);
    rates.push_back(bytes / 1e6 / times.all_ms());
    all_ms.push_back(times.all_ms());
    load_ms.push_back(times.load_ms);
    engine_ms.push_back(times.engine_ms);
    token_ms.push_back(times.token_ms);
  }
  Record record;
  record.name = name;
  record.unit = "GB/s";
  record.runs = rates;
  record.value = Median(rates);
  if (probe_gbps > 0) record.share_of_limit = record.value / probe_gbps;
  char more[96];
  std::snprintf(more, sizeof more, "\"bytes\": %.6g, \"copy_and_dma_GBps\": %.2f", bytes, probe_gbps);
  record.more = more;
  place.report.Add(record);
  const struct {
    const char* what;
    const std::vector<double>& times;
  } parts[] = {
      {"/to_first_token", all_ms}, {"/model", load_ms}, {"/engine", engine_ms}, {"/token", token_ms}};
  for (const auto& part : parts) {
    Record time;
    time.name = name + part.what;
    time.unit = "ms";
    time.runs = part.times;
    time.value = Median(part.times);
    place.report.Add(time);
  }
}

double ProbeGBps(const Place& place) {
  if (!place.on_gpu()) return 0;
  const tsr_reader reader = place.shaped.Reader();
  std::vector<double> rates;
  for (int64_t run = 0; run < place.a.runs; ++run) {
    rates.push_back(StagedCopyGBps(
        reader.size_bytes, static_cast<int>(place.a.load_threads),
        [&](uint64_t offset, void* to, size_t size) { reader.read_at(reader.user, offset, to, size); }));
  }
  return Median(rates);
}

void WriteFile(const Place& place, const std::string& path) {
  constexpr size_t kPiece = size_t{16} << 20;
  const tsr_reader reader = place.shaped.Reader();
  struct stat is = {};
  if (stat(path.c_str(), &is) == 0 && static_cast<uint64_t>(is.st_size) == reader.size_bytes) return;
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) Fail("gpu_bench", path.c_str(), "cannot be written");
  std::vector<uint8_t> piece(kPiece);
  for (uint64_t at = 0; at < reader.size_bytes; at += kPiece) {
    const size_t size = std::min<uint64_t>(kPiece, reader.size_bytes - at);
    reader.read_at(reader.user, at, piece.data(), size);
    if (std::fwrite(piece.data(), 1, size, file) != size) Fail("gpu_bench", path.c_str(), "is full");
  }
  if (std::fclose(file) != 0) Fail("gpu_bench", path.c_str(), "is full");
}

}  // namespace

void MeasureLoad(const Place& place) {
  ReportLoad(place, "load", ProbeGBps(place), [&](const tsr_options* options) {
    const tsr_reader reader = place.shaped.Reader();
    tsr_model* model = nullptr;
    Must must("load");
    must = tsr_model_load_reader(place.runtime, &reader, options, &model, must);
    return model;
  });
}

void MeasureLoadFile(const Place& place) {
  if (place.a.folder.empty()) {
    std::printf("load_file: left out, since there is no --folder\n");
    return;
  }
  std::string path =
      place.a.folder + "/" + place.a.shape + (place.a.tied ? "-tied." : ".") + place.a.type + ".gguf";
  WriteFile(place, path);
  ReportLoad(place, "load_file", ProbeGBps(place), [&](const tsr_options* options) {
    tsr_model* model = nullptr;
    Must must("load");
    must = tsr_model_load_file(place.runtime, path.data(), path.size(), options, &model, must);
    return model;
  });
}

}  // namespace tessera_bench

// Runs the conformance scenarios through tessera.hpp. Usage: conformance SCENARIOS.json FOLDER
#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <tessera/tessera.hpp>
#include <thread>

namespace {

namespace dom = simdjson::dom;
using std::chrono::nanoseconds;
constexpr nanoseconds kPatience{100'000'000'000};
constexpr const char* kReasons[] = {"",          "END",      "STOP",  "LENGTH", "CONTEXT",
                                    "CANCELLED", "DEADLINE", "ERROR", "CLOSED"};

std::string Text(dom::element e) { return std::string(std::string_view(e)); }
std::string Text(dom::object step, const char* key, const char* otherwise = "") {
  dom::element e;
  return step[key].get(e) == simdjson::SUCCESS ? Text(e) : otherwise;
}
int64_t Number(dom::object step, const char* key, int64_t otherwise = 0) {
  int64_t value;
  return step[key].get(value) == simdjson::SUCCESS ? value : otherwise;
}
template <typename T>
std::vector<T> List(dom::element e) {
  std::vector<T> list;
  for (dom::element one : dom::array(e))
    list.push_back(static_cast<T>(one.is_double() ? double(one) : double(int64_t(one))));
  return list;
}

// JSON of what was observed.
std::string Quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    char code[8];
    if (c == '"' || c == '\\') {
      json += std::string("\\") + c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c));
      json += code;
    } else {
      json += c;
    }
  }
  return json + '"';
}
std::string Json(const std::string& text) { return Quoted(text); }
std::string Json(bool value) { return value ? "true" : "false"; }
std::string Json(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.9e", value);
  return text;
}
std::string Json(float value) { return Json(static_cast<double>(value)); }
template <typename N, std::enable_if_t<std::is_integral_v<N>, int> = 0>
std::string Json(N value) {
  return std::to_string(value);
}
std::string Json(const tsr_token_logprob& pair) {
  return "[" + Json(pair.token) + "," + Json(pair.logprob) + "]";
}
template <typename C, typename = decltype(std::declval<C>().begin()),
          std::enable_if_t<!std::is_convertible_v<C, std::string_view>, int> = 0>
std::string Json(const C& list) {
  std::string json;
  for (const auto& one : list) json += (json.empty() ? "" : ",") + Json(one);
  return "[" + json + "]";
}
template <typename T>
std::string Field(const char* name, const T& value) {
  return Quoted(name) + ":" + Json(value);
}
std::string Hex(const uint8_t (&bytes)[16]) {
  std::string text;
  for (const uint8_t byte : bytes)
    text += "0123456789abcdef"[byte >> 4], text += "0123456789abcdef"[byte & 15];
  return text;
}

bool Same(dom::element a, dom::element b, double tolerance) {
  if (a.is_double() || b.is_double()) {
    double x, y;
    return !a.get(x) && !b.get(y) && std::abs(x - y) <= tolerance;
  }
  if (a.is_object() && b.is_object()) {
    if (dom::object(a).size() != dom::object(b).size()) return false;
    for (const auto field : dom::object(a)) {
      dom::element other;
      if (dom::object(b)[field.key].get(other) || !Same(field.value, other, tolerance)) return false;
    }
    return true;
  }
  if (a.is_array() && b.is_array()) {
    const dom::array x = a, y = b;
    if (x.size() != y.size()) return false;
    for (auto i = x.begin(), j = y.begin(); i != x.end(); ++i, ++j) {
      if (!Same(*i, *j, tolerance)) return false;
    }
    return true;
  }
  return simdjson::minify(a) == simdjson::minify(b);
}

// What a step gave: fields of a JSON object, or an error.
using Outcome = tessera::result<std::string>;
template <typename T, typename F>
Outcome Then(tessera::result<T> result, F&& fields) {
  if (!result) return std::move(result).error();
  return fields(*result);
}
Outcome Done(tessera::result<void> result) {
  if (!result) return std::move(result).error();
  return std::string();
}

struct Answer {
  std::string text, reason, status, top;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool has_logprobs = false;
  tsr_event_finished end = {};
};

class Scenario {
 public:
  explicit Scenario(std::string folder, std::string beside)
      : folder_(std::move(folder)), beside_(std::move(beside)) {}
  Outcome Run(dom::object step);

 private:
  template <typename T>
  Outcome Keep(dom::object step, std::map<std::string, T>& kept, tessera::result<T> made) {
    if (!made) return std::move(made).error();
    kept.insert_or_assign(Text(step, "as"), std::move(*made));
    return std::string();
  }
  template <typename T>
  T& At(dom::object step, const char* key, std::map<std::string, T>& kept) {
    return kept.at(Text(step, key));
  }
  std::string Path(const std::string& file) const {
    const bool inside = access((folder_ + "/" + file).c_str(), F_OK) == 0;
    return (inside || access((beside_ + "/" + file).c_str(), F_OK) != 0 ? folder_ : beside_) + "/" + file;
  }
  tessera::options Options(dom::object step);
  tessera::text_flags Flags(dom::object step);
  Outcome Load(dom::object step);
  Outcome Collect(dom::object step, bool wait);
  Outcome PollTogether(tessera::queue& queue);
  Outcome Info(const tessera::model_info& info);
  tessera::result<tessera::step_stats> Step(dom::object step);
  Outcome RunOfModel(const std::string& what, dom::object step);
  Outcome RunOfSession(const std::string& what, dom::object step);
  Outcome RunOfState(const std::string& what, dom::object step);

  const std::string folder_, beside_;
  std::map<std::string, tessera::runtime> runtimes_;
  std::map<std::string, tessera::model> models_;
  std::map<std::string, tessera::engine> engines_;
  std::map<std::string, tessera::queue> queues_;
  std::map<std::string, tessera::session> sessions_;
  std::map<std::string, tessera::state> states_;
  std::map<std::string, std::shared_ptr<std::atomic<int>>> calls_;
};

std::vector<std::byte> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::byte> out(bytes.size());
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

tessera::options Scenario::Options(dom::object step) {
  tessera::options options;
  dom::array entries;
  if (step["options"].get(entries)) return options;
  for (dom::element entry : entries) {
    const std::string type = Text(entry.at(0)), key = Text(entry.at(1));
    const dom::element value = entry.at(2);
    if (type == "int") options.set(key, int64_t(value));
    if (type == "float") options.set(key, double(value));
    if (type == "bool") options.set(key, bool(value));
    if (type == "string") options.set(key, std::string_view(value));
    if (type == "ints") options.set_ints(key, List<int64_t>(value));
    if (type == "floats") options.set_floats(key, List<double>(value));
    if (type == "strings") {
      std::vector<std::string_view> texts;
      for (dom::element text : dom::array(value)) texts.push_back(text);
      options.set_strings(key, texts);
    }
    if (type == "callbacks") {
      const auto count = calls_[key] = std::make_shared<std::atomic<int>>(0);
      const bool stop = Text(value) == "stop";
      if (key == "runtime.log") options.on_log([count](tessera::log_level, std::string_view) { ++*count; });
      if (key == "model.progress") options.on_progress([=](uint64_t, uint64_t) { return ++*count, !stop; });
      if (key == "queue.on_ready") options.on_ready([count] { ++*count; });
    }
  }
  return options;
}

tessera::text_flags Scenario::Flags(dom::object step) {
  tessera::text_flags flags = tessera::text_flags::plain;
  dom::array list;
  if (step["flags"].get(list)) return flags;
  for (dom::element flag : list) {
    flags = flags | (Text(flag) == "PARSE_SPECIAL" ? tessera::text_flags::parse_special
                                                   : tessera::text_flags::add_special);
  }
  return flags;
}

Outcome Scenario::Load(dom::object step) {
  const std::string from = Text(step, "from", "file"), path = Path(Text(step, "file"));
  const tessera::runtime& runtime = At(step, "runtime", runtimes_);
  const tessera::options options = Options(step);
  if (from == "file") return Keep(step, models_, tessera::model::load(runtime, path, options));
  if (from == "descriptor") {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    auto loaded = tessera::model::load_descriptor(runtime, file, 0, 0, options);
    close(file);
    return Keep(step, models_, std::move(loaded));
  }
  const std::vector<std::byte> bytes = ReadFile(path);
  if (from == "memory") {
    return Keep(step, models_,
                tessera::model::load_memory(runtime, bytes, tessera::memory_mode::copy, options));
  }
  const auto read = [bytes](uint64_t offset, void* buffer, size_t size) {
    std::memcpy(buffer, bytes.data() + offset, size);
    return static_cast<int64_t>(size);
  };
  return Keep(step, models_, tessera::model::load_reader(runtime, bytes.size(), read, options));
}

Outcome Scenario::Collect(dom::object step, bool wait) {
  std::map<uint64_t, Answer> answers;
  tessera::event_buffer events(4096);  // small, so that some records do not fit
  int64_t ended = 0;
  const tessera::queue& queue = At(step, "queue", queues_);
  while (!wait || ended < Number(step, "finished")) {
    tessera::result<void> polled = wait ? queue.wait(At(step, "engine", engines_), events, kPatience)
                                        : queue.poll(events, nanoseconds(0));
    if (!polled) return std::move(polled).error();
    if (events.empty() && wait) return std::string("\"problem\":\"no event came\"");
    if (events.empty()) break;
    for (const tessera::event event : events) {
      Answer& answer = answers[event.tag()];
      if (!answer.reason.empty()) return std::string("\"problem\":\"an event after the last one\"");
      if (event.is_tokens()) {
        answer.text += event.text();
        answer.tokens.insert(answer.tokens.end(), event.tokens().begin(), event.tokens().end());
        answer.logprobs.insert(answer.logprobs.end(), event.logprobs().begin(), event.logprobs().end());
        for (size_t i = 0; i < event.tokens().size() && !event.top(i).empty(); ++i) {
          answer.top += (answer.top.empty() ? "" : ",") + Json(event.top(i));
        }
      } else if (event.is_finished()) {
        answer.reason = std::string("TSR_FINISH_") + kReasons[static_cast<int>(event.reason())];
        answer.status = tessera::to_string(event.status());
        answer.end = *event.finished();
        ++ended;
      }
    }
  }
  std::vector<std::string> without;
  if (dom::array list; !step["without"].get(list)) {
    for (dom::element name : list) without.push_back(Text(name));
  }
  const auto wanted = [&](const char* name) {
    return std::find(without.begin(), without.end(), name) == without.end();
  };
  std::string all;
  for (const auto& [tag, answer] : answers) {
    std::string fields = Field("tag", tag) + "," + Field("tokens", answer.tokens);
    if (wanted("text")) fields += "," + Field("text", answer.text);
    if (!answer.logprobs.empty() && wanted("logprobs")) fields += "," + Field("logprobs", answer.logprobs);
    if (!answer.top.empty() && wanted("top")) fields += ",\"top\":[" + answer.top + "]";
    if (!answer.reason.empty()) {
      fields += "," + Field("reason", answer.reason) + "," + Field("status", answer.status) + "," +
                Field("prompt_tokens", answer.end.prompt_tokens) + "," +
                Field("generated_tokens", answer.end.generated_tokens) + "," +
                Field("last_token", answer.end.last_token);
    }
    all += (all.empty() ? "{" : ",{") + fields + "}";
  }
  return "\"answers\":[" + all + "]";
}

Outcome Scenario::PollTogether(tessera::queue& queue) {
  for (;;) {
    std::atomic<bool> done{false};
    tessera::result<void> theirs, ours;
    std::thread other([&] {
      tessera::event_buffer events;
      theirs = queue.poll(events, kPatience);
      done = true;
    });
    tessera::event_buffer events;
    for (int i = 0; i < 1000 && ours && !done; ++i) ours = queue.poll(events, nanoseconds(0));
    const tessera::result<void> woken = queue.wake();
    other.join();
    const tessera::result<void> emptied =
        queue.poll(events, nanoseconds(0));  // the wake-up, if it was not heard
    if (!ours) return std::move(ours).error();
    if (!theirs) return std::move(theirs).error();
    if (!woken || !emptied) return std::string("\"problem\":\"no wake-up\"");
  }
}

Outcome Scenario::Info(const tessera::model_info& info) {
  return Field("parameters", info.parameters) + "," + Field("vocabulary_size", info.vocabulary_size) + "," +
         Field("context_tokens", info.context_tokens) + "," + Field("layers", info.layers) + "," +
         Field("hidden_size", info.hidden_size) + "," + Field("bos_token", info.bos_token) + "," +
         Field("end_token", info.end_token) + "," + Field("hash", Hex(info.hash)) + "," +
         Field("tokenizer_hash", Hex(info.tokenizer_hash)) + "," + Field("device", std::string(info.device));
}

tessera::result<tessera::step_stats> Scenario::Step(dom::object step) {
  auto stats = At(step, "engine", engines_).step(tessera::forever);
  for (int64_t i = 1; stats && i < Number(step, "times", 1); ++i)
    stats = At(step, "engine", engines_).step(tessera::forever);
  return stats;
}

Outcome Scenario::RunOfModel(const std::string& what, dom::object step) {
  const tessera::model& model = At(step, "model", models_);
  if (what == "engine") return Keep(step, engines_, tessera::engine::create(model, Options(step)));
  if (what == "model_info") return Then(model.info(), [&](const auto& info) { return Info(info); });
  if (what == "tokenize") {
    return Then(model.tokenize(Text(step, "text"), Flags(step)),
                [](const auto& tokens) { return Field("tokens", tokens); });
  }
  if (what == "detokenize") {
    return Then(model.detokenize(List<int32_t>(step["tokens"]), Flags(step)),
                [](const auto& t) { return Field("text", t); });
  }
  if (what == "chat_template") {
    return Then(model.apply_chat_template(simdjson::minify(dom::element(step["messages"])), Options(step)),
                [](const auto& text) { return Field("text", text); });
  }
  return Then(model.metadata(Text(step, "key")), [](auto& values) {
    return std::visit(
        [](auto& list) {
          const size_t count = list.size();
          list.resize(std::min<size_t>(count, 8));
          return Field("count", count) + "," + Field("first", list);
        },
        values);
  });
}

Outcome Scenario::RunOfSession(const std::string& what, dom::object step) {
  const tessera::session& session = At(step, "session", sessions_);
  if (what == "fork") return Keep(step, sessions_, session.fork(Options(step)));
  if (what == "append_tokens") return Done(session.append(List<int32_t>(step["tokens"])));
  if (what == "append_chat")
    return Done(session.append_chat(simdjson::minify(dom::element(step["messages"])), Options(step)));
  if (what == "append_text") {
    std::string text = Text(step, "text");
    const std::string hex = Text(step, "bytes");
    for (size_t i = 0; i < hex.size(); i += 2)
      text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return Done(session.append(text, Flags(step)));
  }
  if (what == "generate") {
    return Then(session.generate(At(step, "queue", queues_), static_cast<uint64_t>(Number(step, "tag")),
                                 Options(step)),
                [](uint64_t) { return std::string(); });
  }
  if (what == "cancel") {
    const bool keep = Text(step, "effect") == "KEEP";
    return Done(session.cancel(keep ? tessera::cancel_effect::keep : tessera::cancel_effect::drop));
  }
  if (what == "rewind") return Done(session.rewind(static_cast<size_t>(Number(step, "count"))));
  if (what == "park") return Done(session.park());
  if (what == "tokens")
    return Then(session.tokens(), [](const auto& tokens) { return Field("tokens", tokens); });
  if (what == "token_count")
    return Then(session.token_count(), [](size_t count) { return Field("count", count); });
  if (what == "save") {
    return Then(session.save(Options(step)), [&](const auto& state) {
      states_[Text(step, "as")] = state;
      return Field("size", state.size());
    });
  }
  return Then(session.logits(), [](const std::vector<float>& logits) {
    const auto largest = std::max_element(logits.begin(), logits.end()) - logits.begin();
    return Field("count", logits.size()) + "," + Field("largest", largest) + "," +
           Field("first", std::vector<float>(logits.begin(), logits.begin() + 8));
  });
}

Outcome Scenario::RunOfState(const std::string& what, dom::object step) {
  if (what == "same_state") return Field("same", At(step, "one", states_) == At(step, "two", states_));
  const tessera::state& state = At(step, "state", states_);
  if (what == "restore") {
    return Keep(step, sessions_,
                tessera::session::restore(At(step, "engine", engines_), state, Options(step)));
  }
  if (what == "damage_state") {
    tessera::state damaged = state;
    damaged[static_cast<size_t>(Number(step, "at"))] ^= std::byte{1};
    states_[Text(step, "as")] = damaged;
    return std::string();
  }
  return Then(tessera::probe(state), [](const tessera::state_info& info) {
    return Field("size_bytes", info.size_bytes) + "," + Field("token_count", info.token_count) + "," +
           Field("cached_tokens", info.cached_tokens) + "," + Field("version", info.version) + "," +
           Field("cache_type", info.cache_type) + "," + Field("complete", info.complete);
  });
}

Outcome Scenario::Run(dom::object step) {
  const std::string what = Text(step, "do"), name = Text(step, "name");
  if (what == "runtime") return Keep(step, runtimes_, tessera::runtime::create(Options(step)));
  if (what == "load") return Load(step);
  if (what == "queue")
    return Keep(step, queues_, tessera::queue::create(At(step, "runtime", runtimes_), Options(step)));
  if (what == "session")
    return Keep(step, sessions_, tessera::session::create(At(step, "engine", engines_), Options(step)));
  if (what == "close")
    return Done(runtimes_.count(name) ? runtimes_.at(name).close() : engines_.at(name).close());
  if (what == "release") {
    runtimes_.erase(name), models_.erase(name), engines_.erase(name), queues_.erase(name),
        sessions_.erase(name);
    return std::string();
  }
  if (what == "wait" || what == "poll") return Collect(step, what == "wait");
  if (what == "poll_together") return PollTogether(At(step, "queue", queues_));
  if (what == "watched") return Field("called", *calls_.at(Text(step, "key")) > 0);
  if (what == "step")
    return Then(Step(step), [](const auto& stats) { return Field("work_left", stats.work_left); });
  if (what == "step_until_idle") {
    for (;;) {
      auto stats = Step(step);
      if (!stats) return std::move(stats).error();
      if (!stats->work_left) return std::string();
    }
  }
  if (what == "read_state") {
    states_[Text(step, "as")] = ReadFile(Path(Text(step, "file")));
    return std::string();
  }
  if (what == "same_state" || what == "damage_state" || what == "probe" || what == "restore")
    return RunOfState(what, step);
  dom::element part;
  if (!step["session"].get(part)) return RunOfSession(what, step);
  if (!step["model"].get(part)) return RunOfModel(what, step);
  return "\"problem\":" + Quoted("unknown step " + what);
}

// "" when the outcome is what the step expects.
std::string Difference(dom::object step, const Outcome& outcome, double tolerance) {
  dom::object expected;
  const bool any = step["expect"].get(expected) == simdjson::SUCCESS;
  const std::string status = any ? Text(expected, "status") : "";
  if (!outcome) {
    const std::string found = outcome.error().what() + " (" + std::string(outcome.error().place()) + ")";
    dom::element place;
    const bool right = status == tessera::to_string(outcome.code()) &&
                       (expected["place"].get(place) || Text(place) == outcome.error().place());
    return right ? "" : "found " + found;
  }
  if (!any && outcome->find("\"problem\"") == std::string::npos) return "";
  dom::parser parser;
  const simdjson::padded_string json("{" + *outcome + "}");
  dom::element found;
  if (parser.parse(json).get(found)) return "unreadable: " + *outcome;
  return any && Same(dom::element(step["expect"]), found, tolerance) ? "" : "found {" + *outcome + "}";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string list = argv[1], beside = list.substr(0, list.find_last_of('/') + 1) + ".";
  dom::parser parser;
  dom::element all;
  if (parser.load(list).get(all)) return std::fprintf(stderr, "cannot read %s\n", argv[1]), 2;
  int failures = 0, scenarios = 0;
  for (dom::element one : dom::array(all["scenarios"])) {
    Scenario scenario(argv[2], beside);
    std::string failed;
    int index = 0;
    for (dom::element step : dom::array(one["steps"])) {
      const std::string difference = Difference(step, scenario.Run(step), all["tolerance"]);
      if (failed.empty() && !difference.empty()) {
        failed = "step " + std::to_string(index) + " " + simdjson::minify(step) + "\n  " + difference;
        break;
      }
      ++index;
    }
    const std::string name = Text(one["name"]);
    std::printf(failed.empty() ? "ok %s\n" : "FAILED %s: %s\n", name.c_str(), failed.c_str());
    failures += !failed.empty(), ++scenarios;
  }
  std::printf("%d scenarios, %d failed\n", scenarios, failures);
  return failures == 0 && scenarios > 0 ? 0 : 1;
}

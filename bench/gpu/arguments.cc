#include "bench/gpu/arguments.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "bench/host.h"

namespace tessera_bench {
namespace {

const char* const kSections[] = {"load",   "load_file",  "decode", "host", "sampling", "invariant",
                                 "prompt", "throughput", "cancel", "soak", "regions"};

[[noreturn]] void Refuse(const std::string& what) {
  std::fprintf(
      stderr,
      "gpu_bench: %s\n"
      "  --device cuda|cpu|...  --shape 8b|1b|tiny  --type bf16|f16|q8_0|q4_0  --tied 0|1\n"
      "  --only SECTION,...     of load load_file decode host sampling invariant prompt throughput\n"
      "                         cancel soak; and regions, which is measured only when it is named\n"
      "  --runs N  --out FILE.jsonl  --peer FILE  --commit ID  --read-limit GBPS\n"
      "  decode, host, sampling, invariant: --batches N,...  --context N  --steps N  --host-steps N\n"
      "  prompt: --prompts N,...  --prompt-tokens N  --batch-tokens N,...\n"
      "  throughput: --requests N  --request-in N  --request-out N  --sequences N\n"
      "              --request-batch-tokens N\n"
      "  cancel: --cancels N  --cancel-prompt N;  soak: --random-cancels N\n"
      "  load, load_file: --load-threads N;  load_file: --folder DIR\n",
      what.c_str());
  std::exit(2);
}

// Where files lay says nothing to others.
std::string LastPart(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

int64_t Number(const std::string& name, const std::string& text) {
  char* end = nullptr;
  const int64_t value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 0) Refuse(name + " " + text + " is no number");
  return value;
}

// Whether `name` is one of these options; then its value is taken.
bool TakeNumber(const std::string& name, const std::string& text, Arguments* a) {
  const struct {
    const char* name;
    int64_t* value;
  } numbers[] = {{"--context", &a->context},
                 {"--steps", &a->steps},
                 {"--runs", &a->runs},
                 {"--host-steps", &a->host_steps},
                 {"--prompt-tokens", &a->prompt_tokens},
                 {"--requests", &a->requests},
                 {"--request-in", &a->request_in},
                 {"--request-out", &a->request_out},
                 {"--sequences", &a->sequences},
                 {"--request-batch-tokens", &a->request_batch_tokens},
                 {"--cancels", &a->cancels},
                 {"--cancel-prompt", &a->cancel_prompt},
                 {"--random-cancels", &a->random_cancels},
                 {"--load-threads", &a->load_threads}};
  for (const auto& number : numbers) {
    if (name != number.name) continue;
    *number.value = Number(name, text);
    if (*number.value == 0) Refuse(name + " is 0");
    return true;
  }
  return false;
}

bool TakeList(const std::string& name, const std::string& text, Arguments* a) {
  const struct {
    const char* name;
    std::vector<int64_t>* values;
  } lists[] = {{"--batches", &a->batches}, {"--prompts", &a->prompts}, {"--batch-tokens", &a->batch_tokens}};
  for (const auto& list : lists) {
    if (name != list.name) continue;
    list.values->clear();
    for (const std::string& part : Split(text)) {
      list.values->push_back(Number(name, part));
      if (list.values->back() == 0) Refuse(name + " has a 0");
    }
    return true;
  }
  return false;
}

bool TakeText(const std::string& name, const std::string& text, Arguments* a) {
  const struct {
    const char* name;
    std::string* value;
  } texts[] = {{"--device", &a->device}, {"--shape", &a->shape}, {"--type", &a->type},
               {"--folder", &a->folder}, {"--peer", &a->peer},   {"--out", &a->out},
               {"--commit", &a->commit}};
  for (const auto& known : texts) {
    if (name != known.name) continue;
    *known.value = text;
    return true;
  }
  return false;
}

}  // namespace

bool Arguments::wanted(const std::string& section) const {
  return only.empty() || std::find(only.begin(), only.end(), section) != only.end();
}

Arguments ParseArguments(int argc, char** argv) {
  Arguments a;
  a.command = "gpu_bench";
  for (int i = 1; i < argc; ++i) {
    a.command += ' ';
    a.command += LastPart(argv[i]);
  }
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) Refuse(name + " needs a value, if it is an option");
    const std::string text = argv[i + 1];
    if (name == "--only") {
      a.only = Split(text);
    } else if (name == "--tied") {
      a.tied = Number(name, text) != 0;
    } else if (name == "--read-limit") {
      a.read_limit = std::atof(text.c_str());
    } else if (!TakeNumber(name, text, &a) && !TakeList(name, text, &a) && !TakeText(name, text, &a)) {
      Refuse(name + " is no option");
    }
  }
  for (const std::string& section : a.only) {
    const auto is = [&](const char* known) { return section == known; };
    if (!std::any_of(std::begin(kSections), std::end(kSections), is)) Refuse(section + " is no section");
  }
  ModelShape shape;
  if (!FindShape(a.shape, &shape)) Refuse("--shape " + a.shape + " is not known");
  if (a.type != "bf16" && a.type != "f16" && a.type != "q8_0" && a.type != "q4_0") {
    Refuse("--type " + a.type + " is not known");
  }
  return a;
}

}  // namespace tessera_bench

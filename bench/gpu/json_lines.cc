#include "bench/gpu/json_lines.h"

#include <cstdlib>
#include <utility>

namespace tessera_bench {
namespace {

std::string Number(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string QuotedOrNull(const char* text) {
  if (text == nullptr) return "null";
  std::string quoted(1, '"');
  quoted += text;
  quoted += '"';
  return quoted;
}

}  // namespace

bool TakeRunOption(int argc, char** argv, int* i, RunOptions* options) {
  const std::string word = argv[*i];
  if (word == "--sweep") {
    options->sweep = true;
    return true;
  }
  std::string* const value = word == "--date"     ? &options->date
                             : word == "--commit" ? &options->commit
                             : word == "--out"    ? &options->out
                                                  : nullptr;
  if (value == nullptr || *i + 1 >= argc) return false;
  *value = argv[++*i];
  return true;
}

RunOptions ParseRunOptions(const char* program, int argc, char** argv) {
  RunOptions options;
  for (int i = 1; i < argc; ++i) {
    if (TakeRunOption(argc, argv, &i, &options)) continue;
    std::fprintf(stderr, "usage: %s [--date DATE] [--commit COMMIT] [--out FILE.jsonl] [--sweep]\n", program);
    std::exit(2);
  }
  return options;
}

JsonLines::JsonLines(const RunOptions& options, std::string device, std::string command)
    : options_(options), device_(std::move(device)), command_(std::move(command)) {
  if (options.out.empty()) return;
  file_ = std::fopen(options.out.c_str(), "a");
  if (file_ == nullptr) std::perror(options.out.c_str());
}

JsonLines::~JsonLines() {
  if (file_ != nullptr) std::fclose(file_);
}

void JsonLines::Add(const Line& line) {
  if (file_ == nullptr) return;
  std::fprintf(file_,
               "{\"name\": \"%s\", \"value\": %s, \"unit\": \"%s\", \"share_of_limit\": %s, \"peer\": %s, "
               "\"ratio_to_peer\": %s, \"device\": \"%s\", \"date\": \"%s\", \"commit\": \"%s\", "
               "\"command\": \"%s\"}\n",
               line.name.c_str(), Number(line.value, line.digits).c_str(), line.unit,
               line.share_of_limit > 0 ? Number(line.share_of_limit, 4).c_str() : "null",
               QuotedOrNull(line.peer).c_str(),
               line.peer != nullptr ? Number(line.ratio_to_peer, line.ratio_digits).c_str() : "null",
               device_.c_str(), options_.date.c_str(), options_.commit.c_str(), command_.c_str());
  std::fflush(file_);
}

}  // namespace tessera_bench

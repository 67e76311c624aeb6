// The folder list is the architecture: this test reads the sources and holds that dependencies point one way,
// that the core knows no device, that the public headers stand alone, and that nothing in the library ends
// the process.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace tessera {
namespace {

namespace fs = std::filesystem;

// A folder may include itself and those before it.
const std::vector<std::string> kFolders = {"base",     "env",   "model",   "text",     "request",
                                           "schedule", "cache", "offload", "parallel", "execute",
                                           "sample",   "ranks", "engine",  "cpu",      "device"};

const fs::path kRoot = TESSERA_SOURCE_FOLDER;

struct Line {
  std::string place;  // "core/env/file.cc:12"
  std::string file;   // "core/env/file.cc"
  std::string text;
};

// All lines of the C and C++ files below a folder.
std::vector<Line> LinesBelow(const std::string& folder) {
  std::vector<Line> lines;
  if (!fs::exists(kRoot / folder)) return lines;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(kRoot / folder)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cc" && extension != ".c" && extension != ".cpp") continue;
    const std::string file = fs::relative(entry.path(), kRoot).generic_string();
    std::ifstream stream(entry.path());
    std::string text;
    for (int number = 1; std::getline(stream, text); ++number) {
      lines.push_back({file + ":" + std::to_string(number), file, text});
    }
  }
  return lines;
}

std::string IncludeOf(const std::string& line) {
  static const auto* const pattern = new std::regex(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::smatch match;
  return std::regex_search(line, match, *pattern) ? match[1].str() : "";
}

bool StartsWith(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

// The second part of "core/env/file.h", as its place in the order; kFolders.size() where it is none.
size_t FolderOf(const std::string& path) {
  const std::string rest = path.substr(path.find('/') + 1);
  const std::string folder = rest.substr(0, rest.find('/'));
  return static_cast<size_t>(std::find(kFolders.begin(), kFolders.end(), folder) - kFolders.begin());
}

std::string WithoutCommentsAndStrings(const std::string& line) {
  static const auto* const strings = new std::regex(R"("(\\.|[^"\\])*")");
  const std::string code = std::regex_replace(line, *strings, "\"\"");
  return code.substr(0, code.find("//"));
}

TEST(Architecture, EveryFolderOfTheCoreHasItsPlaceInTheOrder) {
  ASSERT_FALSE(LinesBelow("core").empty());
  for (const fs::directory_entry& entry : fs::directory_iterator(kRoot / "core")) {
    if (!entry.is_directory()) continue;
    const std::string folder = entry.path().filename().string();
    EXPECT_NE(std::find(kFolders.begin(), kFolders.end(), folder), kFolders.end()) << "core/" << folder;
  }
}

TEST(Architecture, DependenciesOfTheCorePointOneWay) {
  int checked = 0;
  for (const Line& line : LinesBelow("core")) {
    const std::string include = IncludeOf(line.text);
    if (!StartsWith(include, "core/")) continue;
    ++checked;
    EXPECT_LE(FolderOf(include), FolderOf(line.file)) << line.place << " includes " << include;
  }
  EXPECT_GT(checked, 20);
}

TEST(Architecture, TheCoreKnowsNoDeviceAndNoFace) {
  const std::regex device("cuda|cudnn|cublas|curand|cutlass|nccl|nvrtc|nvml|gloo|hip/", std::regex::icase);
  for (const Line& line : LinesBelow("core")) {
    const std::string include = IncludeOf(line.text);
    // The module that ranks in different processes need; the rest knows its C table alone.
    const bool gloo_module = StartsWith(line.file, "core/parallel/gloo/") &&
                             (StartsWith(include, "gloo/") || StartsWith(include, "core/"));
    const bool gloo_table =
        include == "core/parallel/gloo/module.h" || include == "core/parallel/gloo_communicator.h";
    if (gloo_module || gloo_table) continue;
    EXPECT_FALSE(std::regex_search(include, device)) << line.place << " includes " << include;
    for (const char* folder : {"gpu/", "capi/", "tessera/", "bindings/", "tests/"}) {
      EXPECT_FALSE(StartsWith(include, folder)) << line.place << " includes " << include;
    }
  }
}

TEST(Architecture, PublicHeadersIncludeOnlyTheLanguageAndEachOther) {
  int checked = 0;
  for (const Line& line : LinesBelow("capi/include")) {
    const std::string include = IncludeOf(line.text);
    if (include.empty()) continue;
    ++checked;
    EXPECT_TRUE(include == "stdint.h" || include == "stddef.h" || StartsWith(include, "tessera/"))
        << line.place << " includes " << include;
  }
  EXPECT_GT(checked, 0);
}

TEST(Architecture, NothingInTheLibraryEndsTheProcessOrKeepsThreadState) {
  // Words of the language and of its library, and abseil's parts that abort or that hold locks of their own.
  const std::regex words(R"(\b(abort|_?exit|quick_exit|terminate|assert)\s*\(|\bthread_local\b|\b__thread\b)"
                         R"(|\bA?P?C?HECK(_[A-Z]+)?\s*\(|\bLOG\s*\()");
  const std::regex includes("^(absl/(log|synchronization|base/internal)/|cassert$|assert.h$|iostream$)");
  for (const char* folder : {"core", "capi/src"}) {
    for (const Line& line : LinesBelow(folder)) {
      const std::string include = IncludeOf(line.text);
      EXPECT_FALSE(std::regex_search(include, includes)) << line.place << " includes " << include;
      EXPECT_FALSE(std::regex_search(WithoutCommentsAndStrings(line.text), words))
          << line.place << ": " << line.text;
    }
  }
}

TEST(Architecture, TimeAndThreadsAndFilesComeFromTheirSeamsOnly) {
  // The seams themselves, in core/env, may use the system; so may the event descriptors of the queues.
  const std::regex words(R"(\bclock_gettime\s*\(|\b(steady|system|high_resolution)_clock\b|\bstd::j?thread\b)"
                         R"(|\bpthread_create\s*\(|\bmmap\s*\(|\b[io]?fstream\b|\bfopen\s*\()");
  for (const Line& line : LinesBelow("core")) {
    if (StartsWith(line.file, "core/env/")) continue;
    if (line.file == "core/parallel/gloo/event_loop.cc") continue;  // a class of Gloo's, which has a thread
    EXPECT_FALSE(std::regex_search(WithoutCommentsAndStrings(line.text), words))
        << line.place << ": " << line.text;
  }
}

TEST(Architecture, EveryHeaderSaysFirstWhatItIsFor) {
  for (const char* folder : {"core", "capi/include"}) {
    for (const Line& line : LinesBelow(folder)) {
      const bool first_of_header =
          line.place == line.file + ":1" && line.file.substr(line.file.size() - 2) == ".h";
      if (!first_of_header) continue;
      EXPECT_TRUE(StartsWith(line.text, "//") || StartsWith(line.text, "/*"))
          << line.place << ": " << line.text;
    }
  }
}

}  // namespace
}  // namespace tessera

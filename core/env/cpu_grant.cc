// How many threads the machine grants this process: the affinity mask and the CPU quotas of its control
// groups. A program that starts more than its quota pays for is stopped for the rest of each period.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "core/env/threads.h"

namespace tessera {
namespace {

constexpr int kMostThreads = 1024;
constexpr size_t kLargestFileBytes = size_t{4} << 20;  // mountinfo of a host with thousands of mounts fits

// Empty where the file is missing or unreadable: a control group without the file sets no limit.
std::string ReadSmallFile(const std::string& path) {
  std::string text;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (file == nullptr) return text;
  char buffer[4096];
  size_t got;
  while (text.size() < kLargestFileBytes && (got = std::fread(buffer, 1, sizeof(buffer), file.get())) > 0) {
    text.append(buffer, got);
  }
  return text;
}

int QuotaThreads(int64_t quota_us, int64_t period_us) {
  if (quota_us <= 0 || period_us <= 0) return kMostThreads;
  return static_cast<int>(std::min<int64_t>((quota_us - 1) / period_us + 1, kMostThreads));
}

// cpu.max of version 2: "max 100000" or "150000 100000", in microseconds.
int LimitOfGroupV2(const std::string& folder) {
  const std::string text = ReadSmallFile(absl::StrCat(folder, "/cpu.max"));
  const std::vector<absl::string_view> fields =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  int64_t quota_us;
  int64_t period_us;
  if (fields.size() < 2 || !absl::SimpleAtoi(fields[0], &quota_us) ||
      !absl::SimpleAtoi(fields[1], &period_us)) {
    return kMostThreads;
  }
  return QuotaThreads(quota_us, period_us);
}

int LimitOfGroupV1(const std::string& folder) {
  int64_t quota_us;  // -1: none
  int64_t period_us;
  if (!absl::SimpleAtoi(ReadSmallFile(absl::StrCat(folder, "/cpu.cfs_quota_us")), &quota_us) ||
      !absl::SimpleAtoi(ReadSmallFile(absl::StrCat(folder, "/cpu.cfs_period_us")), &period_us)) {
    return kMostThreads;
  }
  return QuotaThreads(quota_us, period_us);
}

// Where a hierarchy is mounted, and which of its groups that mount shows as its top.
struct CgroupMount {
  bool v2;
  std::string top_group;
  std::string mount_point;
};

// mountinfo writes space, tab, newline and backslash as a backslash and three octal digits.
std::string Unescape(absl::string_view field) {
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    const absl::string_view digits = field.substr(i + 1 < field.size() ? i + 1 : field.size(), 3);
    if (field[i] == '\\' && digits.size() == 3 &&
        digits.find_first_not_of("01234567") == absl::string_view::npos) {
      text.push_back(
          static_cast<char>(((digits[0] - '0') << 6) | ((digits[1] - '0') << 3) | (digits[2] - '0')));
      i += 3;
    } else {
      text.push_back(field[i]);
    }
  }
  return text;
}

// A line: id parent device root mount-point options [tags] - type source super-options.
std::vector<CgroupMount> FindMounts(const std::string& root) {
  std::vector<CgroupMount> mounts;
  const std::string text = ReadSmallFile(absl::StrCat(root, "/proc/self/mountinfo"));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    const absl::string_view type = dash[1];
    const std::vector<absl::string_view> options = absl::StrSplit(dash[3], ',');
    const bool v1 = type == "cgroup" && std::find(options.begin(), options.end(), "cpu") != options.end();
    if (type == "cgroup2" || v1) mounts.push_back({!v1, Unescape(fields[3]), Unescape(fields[4])});
  }
  if (text.empty()) {  // no mountinfo: where every distribution mounts them
    mounts.push_back({true, "/", "/sys/fs/cgroup"});
    mounts.push_back({false, "/", "/sys/fs/cgroup/cpu"});
    mounts.push_back({false, "/", "/sys/fs/cgroup/cpu,cpuacct"});
  }
  return mounts;
}

// The part of `group` below the mount's top. A group outside it (a container sees its own group's mount, but
// the host's path) is taken as the top itself.
absl::string_view GroupBelow(absl::string_view group, absl::string_view top) {
  if (top == "/") return group;
  if (!absl::ConsumePrefix(&group, top) || (!group.empty() && group[0] != '/')) return "";
  return group;
}

// The least limit of the group and of all groups above it.
int LimitOfHierarchy(const std::string& root, const CgroupMount& mount, absl::string_view group) {
  absl::string_view below = GroupBelow(group, mount.top_group);
  if (absl::StrContains(below, "/..")) below = "";
  const std::string base = absl::StrCat(root, mount.mount_point);
  int limit = kMostThreads;
  while (true) {
    while (absl::ConsumeSuffix(&below, "/")) {
    }
    const std::string folder = absl::StrCat(base, below);
    limit = std::min(limit, mount.v2 ? LimitOfGroupV2(folder) : LimitOfGroupV1(folder));
    if (below.empty()) return limit;
    below = below.substr(0, below.rfind('/') == absl::string_view::npos ? 0 : below.rfind('/'));
  }
}

// /proc/self/cgroup has lines of hierarchy:controllers:group; version 2 is "0::group".
int CgroupThreads(const std::string& root) {
  const std::vector<CgroupMount> mounts = FindMounts(root);
  int limit = kMostThreads;
  const std::string text = ReadSmallFile(absl::StrCat(root, "/proc/self/cgroup"));
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() < 3) continue;
    const bool v2 = fields[1].empty();
    const std::vector<absl::string_view> controllers = absl::StrSplit(fields[1], ',');
    if (!v2 && std::find(controllers.begin(), controllers.end(), "cpu") == controllers.end()) continue;
    for (const CgroupMount& mount : mounts) {
      if (mount.v2 == v2) limit = std::min(limit, LimitOfHierarchy(root, mount, fields[2]));
    }
  }
  return limit;
}

// The mask holds only processors that are online.
int AffinityThreads() {
  for (int processors = CPU_SETSIZE; processors <= (1 << 20); processors *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(processors),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    if (set == nullptr) break;
    const size_t set_bytes = CPU_ALLOC_SIZE(processors);
    // Fails while the set is smaller than the kernel's own.
    if (sched_getaffinity(0, set_bytes, set.get()) == 0) return CPU_COUNT_S(set_bytes, set.get());
  }
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

int GrantedThreads(absl::string_view root) {
  absl::string_view prefix = root;
  while (absl::ConsumeSuffix(&prefix, "/")) {
  }
  int granted = CgroupThreads(std::string(prefix));
  if (prefix.empty()) granted = std::min(granted, AffinityThreads());
  return std::clamp(granted, 1, kMostThreads);
}

}  // namespace tessera

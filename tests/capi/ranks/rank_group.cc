#include "tests/capi/ranks/rank_group.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace tessera {
namespace {

constexpr int64_t kPatienceNs = 90'000'000'000;

}  // namespace

int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

RankGroup::RankGroup(int tensor_parallel, int stages, const std::vector<uint8_t>& model)
    : tensor_parallel_(tensor_parallel), stages_(stages), processes_(static_cast<size_t>(size())) {
  std::string folder = (std::filesystem::temp_directory_path() / "tessera_ranks_XXXXXX").string();
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  folder_ = folder;
  std::ofstream(File("model.gguf"), std::ios::binary)
      .write(reinterpret_cast<const char*>(model.data()), static_cast<std::streamsize>(model.size()));
}

RankGroup::~RankGroup() {
  for (const pid_t process : processes_) {
    if (process == 0) continue;
    kill(process, SIGKILL);
    waitpid(process, nullptr, 0);
  }
  std::filesystem::remove_all(folder_);
}

void RankGroup::Start(int rank, std::vector<std::string> settings) {
  settings.insert(settings.begin(),
                  {TESSERA_RANK_PROCESS, folder_, "rank=" + std::to_string(rank),
                   "tensor=" + std::to_string(tensor_parallel_), "stages=" + std::to_string(stages_)});
  std::vector<char*> arguments;
  arguments.reserve(settings.size() + 1);
  for (std::string& setting : settings) arguments.push_back(setting.data());
  arguments.push_back(nullptr);
  EXPECT_EQ(posix_spawn(&processes_[static_cast<size_t>(rank)], TESSERA_RANK_PROCESS, nullptr, nullptr,
                        arguments.data(), environ),
            0);
}

void RankGroup::Signal(int rank, int signal) { kill(processes_[static_cast<size_t>(rank)], signal); }

int RankGroup::Await(int rank) {
  pid_t& process = processes_[static_cast<size_t>(rank)];
  const int64_t end_ns = MonotonicNs() + kPatienceNs;
  int status = 0;
  while (waitpid(process, &status, WNOHANG) == 0) {
    if (MonotonicNs() > end_ns) return kNever;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  process = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignal;
}

bool RankGroup::AwaitFile(const std::string& name) const {
  const int64_t end_ns = MonotonicNs() + kPatienceNs;
  while (!std::filesystem::exists(File(name))) {
    if (MonotonicNs() > end_ns) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

void RankGroup::Leave(const std::string& name) const { std::ofstream file(File(name)); }

std::string RankGroup::Read(const std::string& name) const {
  std::ifstream file(File(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace tessera

// How long an exchange of two ranks takes: threads of one process, two processes through Gloo over the
// loopback, and beside it the same bytes over a bare pair of TCP sockets. Prints one JSON object:
// microseconds, medians.
//   collective_bench [--module-folder FOLDER] [--repetitions N]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/parallel/gloo_communicator.h"
#include "core/parallel/thread_communicator.h"

namespace {

using tessera::Communicator;
using tessera::RankSignal;

constexpr size_t kSizes[] = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20};

[[noreturn]] void Give(const std::string& why) {
  std::fprintf(stderr, "collective_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename Function>
double MedianUs(int repetitions, Function once) {
  std::vector<double> times;
  for (int i = 0; i < repetitions + repetitions / 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    once();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    if (i >= repetitions / 10) times.push_back(took.count());
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

// Both ranks' side; rank 0's figures count. Each reads what it got, as a reduction would.
std::vector<double> Exchanges(Communicator& self, int repetitions) {
  std::vector<double> medians;
  std::vector<absl::Span<const uint8_t>> all(2);
  uint64_t step = 0;
  for (const size_t size : kSizes) {
    std::vector<uint8_t> mine[2] = {std::vector<uint8_t>(size, 1), std::vector<uint8_t>(size, 2)};
    std::vector<uint8_t> theirs(size);
    medians.push_back(MedianUs(repetitions, [&] {
      const auto done = self.Exchange({1, step, 1}, RankSignal::kGo, mine[step % 2], absl::MakeSpan(all));
      if (!done.ok()) Give(std::string(done.status().message()));
      std::memcpy(theirs.data(), all[1 - self.rank()].data(), size);
      ++step;
    }));
    if (!self.Exchange({1, step++, 1}, RankSignal::kGo, {}, absl::MakeSpan(all)).ok())
      Give("the last exchange");
    ++step;
  }
  return medians;
}

std::vector<double> Threads(int repetitions) {
  auto ranks = tessera::ThreadGroup::Create(2);
  if (!ranks.ok()) Give("no group");
  std::vector<double> medians;
  std::thread other([&] { Exchanges(*(*ranks)[1], repetitions); });
  medians = Exchanges(*(*ranks)[0], repetitions);
  other.join();
  return medians;
}

void WriteAll(int fd, const uint8_t* data, size_t size) {
  while (size > 0) {
    const ssize_t done = write(fd, data, size);
    if (done <= 0) Give("a write failed");
    data += done;
    size -= static_cast<size_t>(done);
  }
}

void ReadAll(int fd, uint8_t* data, size_t size) {
  while (size > 0) {
    const ssize_t done = read(fd, data, size);
    if (done <= 0) Give("a read failed");
    data += done;
    size -= static_cast<size_t>(done);
  }
}

std::vector<double> Gloo(int rank, int meeting, const std::string& folder, int repetitions) {
  tessera::GlooOptions options;
  options.rank = rank;
  options.ranks = 2;
  options.tag = "bench";
  options.module_folder = folder;
  options.all_gather = [&](absl::string_view, uint64_t, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                           int64_t) {
    WriteAll(meeting, in.data(), in.size());
    std::memcpy(out.data() + rank * in.size(), in.data(), in.size());
    ReadAll(meeting, out.data() + (1 - rank) * in.size(), in.size());
    return absl::OkStatus();
  };
  auto self = tessera::CreateGlooCommunicator(options);
  if (!self.ok()) Give(std::string(self.status().message()));
  return Exchanges(**self, repetitions);
}

// Rank 1 listens, its port goes through `meeting`.
int Connect(int rank, int meeting) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  int connected = fd;
  if (rank == 1) {
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 1) != 0) Give("no port");
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    WriteAll(meeting, reinterpret_cast<const uint8_t*>(&address), sizeof(address));
    connected = accept(fd, nullptr, nullptr);
    close(fd);
  } else {
    ReadAll(meeting, reinterpret_cast<uint8_t*>(&address), sizeof(address));
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) Give("no connection");
  }
  const int on = 1;
  setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return connected;
}

// The same bytes both ways; where they would not fit into the socket's buffers, one rank reads first.
std::vector<double> Sockets(int rank, int meeting, int repetitions) {
  const int fd = Connect(rank, meeting);
  std::vector<double> medians;
  for (const size_t size : kSizes) {
    std::vector<uint8_t> mine(size, 1), theirs(size);
    medians.push_back(MedianUs(repetitions, [&] {
      if (size <= 64 << 10) {
        WriteAll(fd, mine.data(), size);
        ReadAll(fd, theirs.data(), size);
      } else if (rank == 0) {
        WriteAll(fd, mine.data(), size);
        ReadAll(fd, theirs.data(), size);
      } else {
        ReadAll(fd, theirs.data(), size);
        WriteAll(fd, mine.data(), size);
      }
    }));
  }
  close(fd);
  return medians;
}

void Print(const char* name, const std::vector<double>& medians, const char* end) {
  std::printf("\"%s\": {", name);
  for (size_t i = 0; i < medians.size(); ++i) {
    std::printf("%s\"%zu\": %.2f", i == 0 ? "" : ", ", kSizes[i], medians[i]);
  }
  std::printf("}%s", end);
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  int repetitions = 300;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--module-folder") == 0) folder = argv[i + 1];
    if (std::strcmp(argv[i], "--repetitions") == 0) repetitions = std::atoi(argv[i + 1]);
  }
  int meeting[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, meeting) != 0) Give("no socket pair");
  const pid_t child = fork();
  const int rank = child == 0 ? 1 : 0;
  const std::vector<double> sockets = Sockets(rank, meeting[rank], repetitions);
  const std::vector<double> gloo =
      folder.empty() ? std::vector<double>() : Gloo(rank, meeting[rank], folder, repetitions);
  if (rank == 1) return 0;
  waitpid(child, nullptr, 0);
  std::printf("{");
  Print("thread", Threads(repetitions), ", ");
  if (!gloo.empty()) Print("gloo", gloo, ", ");
  Print("socket", sockets, "}\n");
  return 0;
}

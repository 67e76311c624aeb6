// A process that is one rank of a Gloo group, and may end or stop at a place of its life that the test names:
//   gloo_rank RANK RANKS FOLDER LIFE PLACE kill|stop|none
// LIFE is "busy" (exchanges and messages without end), "idle" (followers wait for a leader that has no work)
// or "short" (a few exchanges, then it parts in order). The ranks meet through files in FOLDER. Its exit code
// is the ErrorCode that ended it; 0: nothing did.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/parallel/gloo_communicator.h"

namespace tessera {
namespace {

struct Life {
  int32_t rank = 0, ranks = 1;
  std::string folder, life, place, way;

  // The end, where the test wants it here.
  void At(const char* where) const {
    if (place != where || way == "none") return;
    std::ofstream(absl::StrCat(folder, "/there"));
    raise(way == "kill" ? SIGKILL : SIGSTOP);
  }

  absl::Status Gather(absl::string_view tag, uint64_t epoch, absl::Span<const uint8_t> in,
                      absl::Span<uint8_t> out, int64_t timeout_ns) const {
    At("before_meeting");
    const auto name = [&](int32_t who) { return absl::StrCat(folder, "/", tag, ".", epoch, ".", who); };
    {
      std::ofstream file(name(rank) + ".part", std::ios::binary);
      file.write(reinterpret_cast<const char*>(in.data()), static_cast<std::streamsize>(in.size()));
    }
    std::filesystem::rename(name(rank) + ".part", name(rank));
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
    for (int32_t who = 0; who < ranks; ++who) {
      while (!std::filesystem::exists(name(who))) {
        if (std::chrono::steady_clock::now() > end) {
          return Error(ErrorCode::kDeadlineExceeded, "meeting", absl::StrCat("rank ", who, " did not come"));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      std::ifstream file(name(who), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      if (bytes.size() != in.size()) return Internal("meeting", "a contribution of another size");
      std::memcpy(out.data() + who * in.size(), bytes.data(), bytes.size());
    }
    At("after_meeting");
    return absl::OkStatus();
  }

  absl::Status Busy(Communicator& self, uint64_t steps) const {
    std::vector<absl::Span<const uint8_t>> all(ranks);
    std::vector<uint8_t> mine[2] = {std::vector<uint8_t>(200'000), std::vector<uint8_t>(200'000)};
    std::vector<uint8_t> buffer(1000);
    for (uint64_t step = 0; step < steps; ++step) {
      const size_t size = step % 3 == 0 ? 200'000 : 1000;
      TSR_RETURN_IF_ERROR(
          self.Exchange({1, step, 0}, RankSignal::kGo, {mine[0].data(), size}, absl::MakeSpan(all)).status());
      if (step == 20) At("between_operations");
      if (ranks > 1) {
        const int32_t next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;
        TSR_RETURN_IF_ERROR(self.Send({1, step, 1}, next, buffer));
        TSR_RETURN_IF_ERROR(self.Receive({1, step, 1}, last, absl::MakeSpan(buffer)).status());
      }
      TSR_RETURN_IF_ERROR(
          self.Exchange({1, step, 2}, RankSignal::kGo, {mine[1].data(), size}, absl::MakeSpan(all)).status());
      if (step == 5) std::ofstream(absl::StrCat(folder, "/busy.", rank));
    }
    return absl::OkStatus();
  }

  absl::Status Run() const {
    GlooOptions options;
    options.rank = rank;
    options.ranks = ranks;
    options.tag = "life";
    options.epoch = 3;
    options.timeout_ns = 2'000'000'000;
    options.connect_timeout_ns = 2'000'000'000;
    const char* const folder_of_test = std::getenv("TESSERA_TEST_MODULE_FOLDER");
    options.module_folder = folder_of_test != nullptr ? folder_of_test : TESSERA_MODULE_FOLDER;
    options.all_gather = [this](absl::string_view tag, uint64_t epoch, absl::Span<const uint8_t> in,
                                absl::Span<uint8_t> out,
                                int64_t timeout_ns) { return Gather(tag, epoch, in, out, timeout_ns); };
    TSR_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> self, CreateGlooCommunicator(options));
    At("connected");
    if (life == "busy") return Busy(*self, UINT64_MAX);
    if (life == "short") {
      TSR_RETURN_IF_ERROR(Busy(*self, 10));
      At("before_close");
      return absl::OkStatus();
    }
    std::ofstream(absl::StrCat(folder, "/busy.", rank));
    At("idle");
    // The leader's host has nothing to do until it wants a step again; the followers learn of a loss
    // meanwhile.
    uint8_t record = 0;
    if (rank != 0) return self->Receive({1, 0, 0}, 0, {&record, 1}).status();
    while (!std::filesystem::exists(absl::StrCat(folder, "/work"))) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (int32_t to = 1; to < ranks; ++to) TSR_RETURN_IF_ERROR(self->Send({1, 0, 0}, to, {&record, 1}));
    std::vector<absl::Span<const uint8_t>> all(ranks);
    return self->Exchange({1, 0, 1}, RankSignal::kGo, {}, absl::MakeSpan(all)).status();
  }
};

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  if (argc != 7) return 255;
  const tessera::Life life = {std::atoi(argv[1]), std::atoi(argv[2]), argv[3], argv[4], argv[5], argv[6]};
  const absl::Status status = life.Run();
  std::fprintf(stderr, "rank %d: %s\n", life.rank,
               status.ok() ? "well" : std::string(status.message()).c_str());
  return static_cast<int>(tessera::CodeOf(status));
}

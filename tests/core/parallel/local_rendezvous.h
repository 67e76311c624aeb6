// The rendezvous of ranks that are threads of a test.
#ifndef TESSERA_TESTS_CORE_PARALLEL_LOCAL_RENDEZVOUS_H_
#define TESSERA_TESTS_CORE_PARALLEL_LOCAL_RENDEZVOUS_H_

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/parallel/rendezvous.h"

namespace tessera {

class LocalRendezvous {
 public:
  explicit LocalRendezvous(int32_t ranks) : ranks_(ranks) {}

  AllGather Of(int32_t rank) {
    return [this, rank](absl::string_view tag, uint64_t epoch, absl::Span<const uint8_t> in,
                        absl::Span<uint8_t> out, int64_t timeout_ns) {
      return Gather(rank, std::string(tag), epoch, in, out, timeout_ns);
    };
  }

 private:
  struct Meeting {
    std::map<int32_t, std::vector<uint8_t>> contributions;
  };
  absl::Status Gather(int32_t rank, const std::string& tag, uint64_t epoch, absl::Span<const uint8_t> in,
                      absl::Span<uint8_t> out, int64_t timeout_ns) {
    std::unique_lock<std::mutex> lock(mutex_);
    Meeting& meeting = meetings_[{tag, epoch}];
    meeting.contributions[rank].assign(in.begin(), in.end());
    changed_.notify_all();
    const bool met = changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] {
      return meeting.contributions.size() == static_cast<size_t>(ranks_);
    });
    if (!met) return Error(ErrorCode::kDeadlineExceeded, "rendezvous", "not all ranks came");
    for (const auto& [from, bytes] : meeting.contributions) {
      std::memcpy(out.data() + static_cast<size_t>(from) * in.size(), bytes.data(), in.size());
    }
    return absl::OkStatus();
  }

  const int32_t ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<std::string, uint64_t>, Meeting> meetings_;
};

}  // namespace tessera

#endif  // TESSERA_TESTS_CORE_PARALLEL_LOCAL_RENDEZVOUS_H_

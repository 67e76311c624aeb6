// Many threads that do random things to shared engines, sessions and queues, and keep the books: which
// requests were accepted, which ended. Handles are counted, so that none is used after its release; all else
// is left to chance.
#ifndef TESSERA_TESTS_CAPI_STRESS_CROWD_H_
#define TESSERA_TESTS_CAPI_STRESS_CROWD_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>

#include "tests/capi/api/host.h"
#include "tests/capi/stress/random_source.h"

namespace tessera::host {

struct SharedQueue {
  SharedQueue(tsr_queue* handle, int id) : handle(handle), id(id) {}
  ~SharedQueue() { tsr_queue_release(handle); }
  tsr_queue* const handle;
  const int id;
};

struct SharedSession {
  explicit SharedSession(tsr_session* handle) : handle(handle) {}
  ~SharedSession() { tsr_session_release(handle); }
  tsr_session* const handle;
};

class Crowd {
 public:
  static constexpr int kSessions = 100;
  static constexpr int kQueues = 5;

  // The engine's and the host's handles are the caller's.
  Crowd(const Host* host, tsr_engine* engine, bool stepped);

  // `count` random acts of one thread. Statuses that its state does not allow are test failures.
  void Act(uint64_t seed, int count);
  // Polls (and steps) until every accepted request, whose queue lives, has ended.
  void Drain();
  void ReleaseSessions();
  void ReleaseQueues();

  // From here on CLOSED is a right answer, and cancelled or closed a right end.
  void ExpectClose() { closing_.store(true); }
  int accepted() const { return accepted_.load(); }
  int ended() const { return ended_.load(); }
  // Exactly one terminal event for each accepted request; none for others.
  void CheckEnds() const;

 private:
  static constexpr int kMostRequests = 1 << 16;
  struct Request {
    std::atomic<bool> accepted{false};
    std::atomic<int> terminals{0};
    std::atomic<int> queue{-1};  // its id
  };

  std::shared_ptr<SharedSession> Session(int slot);
  std::shared_ptr<SharedQueue> Queue(int slot);
  void Replace(RandomSource& random, int slot);
  void ReplaceQueue(int slot);
  void Append(RandomSource& random, tsr_session* session);
  void Generate(RandomSource& random, tsr_session* session);
  void Look(RandomSource& random, tsr_session* session);
  void Poll(SharedQueue& queue, int64_t timeout_ns);
  void Step(RandomSource& random);
  void Read(const char* at, size_t size);
  // Its queue was not released while it might still post.
  bool CanEnd(const Request& request) const;
  void Check(tsr_status status, std::initializer_list<tsr_status> right, const char* call);

  const Host* const host_;
  tsr_engine* const engine_;
  const bool stepped_;
  std::atomic<bool> closing_{false};
  std::atomic<int> next_tag_{0};
  std::atomic<int> accepted_{0}, ended_{0};
  std::unique_ptr<Request[]> requests_;

  std::mutex mutex_;  // guards the slots, not what they point to
  std::array<std::shared_ptr<SharedSession>, kSessions> sessions_;
  std::array<std::shared_ptr<SharedQueue>, kQueues> queues_;
  int next_queue_ = kQueues;
};

}  // namespace tessera::host

#endif  // TESSERA_TESTS_CAPI_STRESS_CROWD_H_

// The engine under more load than it can hold, for as many batches as one likes: TESSERA_SOAK_BATCHES (a few
// thousand without it). 64 sessions share a pool of 0.3 of the blocks that they need; priorities, cancels,
// deadlines, forks, rewinds, failing batches and faults come by chance. After every batch blocks are
// conserved, whoever is first in rank has advanced, and nobody waits longer than its rank allows; every token
// is the oracle's, and in the end every request has ended once and every block is back.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

constexpr size_t kSessions = 64;
constexpr int32_t kMostPriority = 2;
constexpr double kPoolShare = 0.3;  // of what the sessions need
constexpr int32_t kFaultToken = 290;
constexpr int32_t kChunkRows = 32;  // what a prompt gets at the least that is first in rank

EngineOptions SoakOptions() {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 2400;
  options.batch_tokens = 96;
  options.batch_sequences = 24;
  options.max_running = kSessions;
  options.max_requests = kSessions;
  options.max_sessions = 2 * kSessions;  // released ones stay until their batch ends
  return options;
}

int64_t SoakBatches() {
  const char* const wanted = std::getenv("TESSERA_SOAK_BATCHES");
  return wanted == nullptr ? 2500 : std::atoll(wanted);
}

// How often what matters happened: chance that misses something checks nothing.
struct Tally {
  std::map<FinishReason, int64_t> reasons;
  int64_t ended = 0, tokens = 0, forks = 0, rewinds = 0, refused = 0;
  double needed_blocks = 0;  // summed over batches
  int64_t most_waited = 0;   // batches, from submission to the first token
  double most_of_bound = 0;  // of these, the largest part of what was allowed
  int32_t longest_stall = 0;
};

class Soak {
 public:
  explicit Soak(int32_t depth)
      : h_(SoakOptions(), depth), depth_(depth), random_(static_cast<uint32_t>(depth)), slots_(kSessions) {
    h_.simulation->TakeTime(&h_.clock, 1);
    h_.simulation->FaultOn(kFaultToken);
  }

  void Run(int64_t batches) {
    while (batch_ < batches && !testing::Test::HasFailure()) {
      for (int act = 0; act < 8; ++act) Act();
      if (Chance(1, 400)) FailSoon();
      const int64_t before_ns = h_.clock.NowNs();
      h_.Step();
      Settle();
      Check(before_ns);
    }
    Finish();
  }

  const Tally& tally() const { return tally_; }
  EngineMetrics Metrics() { return h_.engine->GetMetrics(); }

 private:
  struct Slot {
    std::shared_ptr<Session> session;
    std::vector<int32_t> tokens;  // as of the end of its last request, and what was appended since
  };
  struct Asked {
    std::shared_ptr<Session> session;
    std::shared_ptr<Request> request;
    size_t slot = 0;
    std::vector<int32_t> prompt;
    RequestParams params;
    int64_t batch = 0;    // at submission
    int64_t latest = -1;  // the batch that its rank lets it wait for; -1: others may still come before it
    bool begun = false;   // it has its first token
    bool cancelled = false, dropped = false;
  };

  size_t Below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }
  bool Chance(size_t part, size_t of) { return Below(of) < part; }

  // What a host does to any of its sessions.
  void Act() {
    const size_t index = Below(kSessions);
    Slot& slot = slots_[index];
    if (slot.session == nullptr) return Create(slot);
    const size_t act = Below(100);
    if (slot.session->request != nullptr) {
      if (act < 3) return Cancel(index);
      if (act < 5) return Fork(slot, slots_[Below(kSessions)]);
      if (act < 6) return Release(slot);
      if (act < 10) return ExpectBusy(slot);
      return;
    }
    if (act < 60) Append(slot);
    if (act < 68) return Generate(index);
    if (act < 74) return Rewind(slot);
    if (act < 80) return Fork(slot, slots_[Below(kSessions)]);
    if (act < 84) return Release(slot);
  }

  void Create(Slot& slot) {
    slot.session = h_.SessionOf({}, Chance(1, 5));
    slot.tokens.clear();
    // Conversations that begin alike.
    if (Chance(2, 5)) AppendTokens(slot, Prompt(static_cast<int>(Below(3)), 30));
  }

  void Release(Slot& slot) {
    if (slot.session == nullptr) return;
    for (auto& [tag, asked] : asked_) asked.cancelled |= asked.session == slot.session;
    h_.engine->ReleaseSession(*slot.session);
    if (slot.session->in_flight != 0) leaving_.push_back(slot.session);
    slot = Slot();
    Settle();
  }

  void AppendTokens(Slot& slot, const std::vector<int32_t>& tokens) {
    const absl::Status status = h_.engine->Append(*slot.session, tokens);
    if (slot.tokens.size() + tokens.size() > static_cast<size_t>(SoakOptions().context_tokens)) {
      EXPECT_EQ(CodeOf(status), ErrorCode::kLimitExceeded);
      ++tally_.refused;
      return;
    }
    EXPECT_TRUE(status.ok()) << status.message();
    slot.tokens.insert(slot.tokens.end(), tokens.begin(), tokens.end());
  }

  // Short mostly, long now and then.
  void Append(Slot& slot) {
    const size_t kind = Below(10);
    const size_t count = kind < 6 ? 1 + Below(8) : kind < 9 ? 9 + Below(40) : 50 + Below(130);
    std::vector<int32_t> tokens = Prompt(static_cast<int>(Below(1000)), count);
    if (Chance(1, 300)) tokens.back() = kFaultToken;
    AppendTokens(slot, tokens);
  }

  RequestParams AnyParams() {
    RequestParams params;
    params.priority = static_cast<int32_t>(Below(1 + kMostPriority));
    params.max_tokens = Chance(1, 20) ? -1 : Chance(1, 30) ? 0 : 1 + static_cast<int64_t>(Below(50));
    if (Chance(1, 10)) params.deadline_ns = 1 + static_cast<int64_t>(Below(20000));
    if (Chance(1, 3)) params.sampling.temperature = 1;
    params.sampling.seed = Below(1000);
    if (Chance(1, 8)) {
      params.sampling.presence_penalty = 1;
      params.sampling.penalty_window_tokens = static_cast<int32_t>(Below(40));
    }
    if (Chance(1, 10)) params.stop_tokens = {3 + 'a' + static_cast<int32_t>(Below(26))};
    if (Chance(1, 10)) params.stop = {std::string(1, static_cast<char>('a' + Below(26))), "xyz"};
    return params;
  }

  void Generate(size_t index) {
    Slot& slot = slots_[index];
    Asked asked;
    asked.params = AnyParams();
    const ErrorCode code = h_.TryGenerate(slot.session, next_tag_, asked.params);
    if (slot.tokens.empty()) {
      EXPECT_EQ(code, ErrorCode::kWrongState);
      return;
    }
    if (code != ErrorCode::kOk) {
      EXPECT_EQ(code, ErrorCode::kLimitExceeded);
      EXPECT_EQ(slot.tokens.size(), static_cast<size_t>(SoakOptions().context_tokens));
      ++tally_.refused;
      return Release(slot);
    }
    asked.session = slot.session;
    asked.request = slot.session->request;
    asked.slot = index;
    asked.prompt = slot.tokens;
    asked.batch = batch_;
    asked_[next_tag_++] = std::move(asked);
  }

  void Cancel(size_t index) {
    const CancelEffect effect = Chance(1, 2) ? CancelEffect::kKeep : CancelEffect::kDrop;
    for (auto& [tag, asked] : asked_) {
      if (asked.session != slots_[index].session) continue;
      asked.cancelled = true;
      asked.dropped = effect == CancelEffect::kDrop;
    }
    h_.engine->Cancel(*slots_[index].session, effect);
    Settle();
    // The next request does not wait until the cancelled one's batch has ended.
    if (Chance(1, 2)) Generate(index);
  }

  void Fork(Slot& from, Slot& to) {
    if (&from == &to) return;
    Release(to);
    auto fork = h_.engine->Fork(*from.session, Chance(1, 5));
    ASSERT_TRUE(fork.ok()) << fork.status().message();
    to.session = *fork;
    to.tokens = to.session->tokens;
    if (from.session->request == nullptr) {
      EXPECT_EQ(to.tokens, from.tokens);
    }
    ++tally_.forks;
  }

  void Rewind(Slot& slot) {
    slot.tokens.resize(Below(slot.tokens.size() + 1));
    EXPECT_TRUE(h_.engine->Rewind(*slot.session, slot.tokens.size()).ok());
    ++tally_.rewinds;
  }

  void ExpectBusy(Slot& slot) {
    EXPECT_EQ(CodeOf(h_.engine->Append(*slot.session, Prompt(1, 1))), ErrorCode::kBusy);
    EXPECT_EQ(CodeOf(h_.engine->Rewind(*slot.session, 0)), ErrorCode::kBusy);
    EXPECT_EQ(h_.TryGenerate(slot.session, 0, Params(1)), ErrorCode::kBusy);
  }

  void FailSoon() {
    h_.simulation->FailAt(h_.simulation->steps() + static_cast<int64_t>(Below(3)),
                          static_cast<int64_t>(Below(kHarnessRegions)),
                          Error(ErrorCode::kLost, "", "on purpose"));
  }

  // What has ended is compared with the oracle and forgotten.
  void Settle() {
    h_.Drain();
    const EngineMetrics metrics = h_.engine->GetMetrics();
    batch_ = static_cast<int64_t>(metrics.batches + metrics.batches_failed);
    for (auto at = asked_.begin(); at != asked_.end();) {
      if (!at->second.begun && h_.events.Of(at->first).tokens.size() > 0) NoteBegun(at->second);
      if (h_.events.Ended(at->first)) {
        CheckEnd(at->second, h_.events.Take(at->first));
        at = asked_.erase(at);
      } else {
        ++at;
      }
    }
  }

  void NoteBegun(Asked& asked) {
    asked.begun = true;
    const int64_t waited = batch_ - asked.batch;
    tally_.most_waited = std::max(tally_.most_waited, waited);
    if (asked.latest < 0) return;
    const auto allowed = static_cast<double>(asked.latest - asked.batch);
    tally_.most_of_bound = std::max(tally_.most_of_bound, static_cast<double>(waited) / allowed);
  }

  void CheckEnd(const Asked& asked, const ReadEvents& events) {
    const FinishReason reason = events.reason();
    const auto generated = static_cast<size_t>(events.finished.generated_tokens);
    EXPECT_EQ(events.terminals, 1);
    EXPECT_EQ(asked.cancelled, reason == FinishReason::kCancelled);
    EXPECT_TRUE(generated == 0 || !asked.dropped);
    if (reason == FinishReason::kLength) {
      EXPECT_EQ(static_cast<int64_t>(generated), asked.params.max_tokens);
    }
    if (reason == FinishReason::kDeadline) {
      EXPECT_GE(h_.clock.NowNs(), asked.request->deadline_ns);
      EXPECT_GT(asked.request->deadline_ns, 0);
    }
    h_.CheckFollows(asked.prompt, asked.params.sampling, events.tokens);
    Slot& slot = slots_[asked.slot];
    if (slot.session == asked.session) {  // not released meanwhile
      const std::vector<int32_t>& now = slot.session->tokens;
      ASSERT_EQ(now.size(), asked.prompt.size() + generated);
      ASSERT_TRUE(std::equal(asked.prompt.begin(), asked.prompt.end(), now.begin()));
      const std::vector<int32_t> kept(now.begin() + static_cast<std::ptrdiff_t>(asked.prompt.size()),
                                      now.end());
      if (kept.size() > events.tokens.size())
        h_.CheckFollows(asked.prompt, asked.params.sampling, kept);  // a stop token is not an event
      if (!asked.dropped) {
        ASSERT_TRUE(std::equal(events.tokens.begin(), events.tokens.end(), kept.begin()));
        ASSERT_LE(kept.size(), events.tokens.size() + 1);
      }
      slot.tokens = now;
    }
    ++tally_.reasons[reason];
    ++tally_.ended;
    tally_.tokens += static_cast<int64_t>(events.tokens.size());
  }

  void Check(int64_t step_began_ns) {
    std::erase_if(leaving_, [](const std::shared_ptr<Session>& s) { return s->in_flight == 0; });
    std::vector<std::shared_ptr<Session>> sessions = leaving_;
    for (const Slot& slot : slots_) {
      if (slot.session == nullptr) continue;
      sessions.push_back(slot.session);
      const Request* const request = slot.session->request.get();
      const int64_t size =
          request != nullptr ? request->token_limit : static_cast<int64_t>(slot.session->tokens.size());
      const int64_t block = SoakOptions().block_tokens;
      tally_.needed_blocks += static_cast<double>((size + block - 1) / block);
      if (request == nullptr) {
        ASSERT_EQ(slot.session->tokens, slot.tokens);
      } else if (request->deadline_ns != 0) {
        ASSERT_GT(request->deadline_ns, step_began_ns);
      }
    }
    ASSERT_NO_FATAL_FAILURE(ExpectBlocksConserved(*h_.engine, sessions));
    const EngineMetrics metrics = h_.engine->GetMetrics();
    ASSERT_EQ(metrics.requests_accepted, metrics.requests_finished + asked_.size());
    ASSERT_EQ(asked_.size(), static_cast<size_t>(metrics.requests_running + metrics.requests_queued));
    ASSERT_EQ(h_.simulation->wrong_positions(), 0);
    ASSERT_NO_FATAL_FAILURE(CheckFirst());
    ASSERT_NO_FATAL_FAILURE(CheckWaits());
  }

  static bool Ahead(const Request& a, const Request& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.id < b.id;
  }

  // Batches in a row that may go without the first in rank: it takes turns where more decode than a batch
  // holds, beside a prompt; and each batch in flight may be one that was planned before it came.
  int32_t MostStall() const {
    const int32_t others = SoakOptions().batch_sequences - 1;
    return (static_cast<int32_t>(kSessions) + others - 1) / others - 1 + depth_ - 1;
  }

  void CheckFirst() {
    const Asked* first = nullptr;
    for (const auto& [tag, asked] : asked_) {
      if (first == nullptr || Ahead(*asked.request, *first->request)) first = &asked;
    }
    const uint64_t id = first == nullptr ? 0 : first->request->id;
    const size_t planned = first == nullptr ? 0 : first->session->planned();
    if (id != 0 && id == first_ && planned <= first_planned_) {
      tally_.longest_stall = std::max(tally_.longest_stall, ++stall_);
      ASSERT_LE(stall_, MostStall()) << "batch " << batch_ << " is one of several without the first in rank";
    } else {
      stall_ = 0;
    }
    first_ = id;
    first_planned_ = planned;
  }

  // Batches that a request takes once it is first in rank, if it has to begin anew.
  static int64_t MostBatches(const Asked& asked) {
    const auto size = static_cast<int64_t>(asked.session->tokens.size());
    return size / kChunkRows + 1 + asked.request->token_limit - size;
  }

  // Later requests come to stand behind when the difference in priority is used up. From then on whoever is
  // first in rank advances and leaves, one after the other.
  void CheckWaits() {
    for (auto& [tag, asked] : asked_) {
      if (asked.begun) continue;
      const int64_t closed =
          asked.batch + depth_ + kBatchesPerPriority * (kMostPriority - asked.params.priority);
      if (asked.latest < 0 && batch_ >= closed) {
        int64_t most = MostBatches(asked);
        for (const auto& [other_tag, other] : asked_) {
          if (Ahead(*other.request, *asked.request)) most += MostBatches(other);
        }
        asked.latest = batch_ + most * (1 + MostStall());
      }
      if (asked.latest >= 0) {
        ASSERT_LE(batch_, asked.latest) << "request " << tag << " of batch " << asked.batch << " starves";
      }
    }
  }

  void Finish() {
    if (testing::Test::HasFailure()) return;
    h_.Run();
    Settle();
    EXPECT_TRUE(asked_.empty());
    for (Slot& slot : slots_) Release(slot);
    h_.Step();
    const EngineMetrics metrics = h_.engine->GetMetrics();
    EXPECT_EQ(metrics.sessions, 0);
    EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
    EXPECT_EQ(metrics.requests_accepted, metrics.requests_finished);
    EXPECT_EQ(metrics.requests_finished, static_cast<uint64_t>(tally_.ended));
    for (const auto& [tag, events] : h_.events.all()) ADD_FAILURE() << "events after the end of " << tag;
  }

  EngineHarness h_;
  const int32_t depth_;
  std::mt19937 random_;
  std::vector<Slot> slots_;
  std::vector<std::shared_ptr<Session>> leaving_;  // released, with rows in flight
  std::map<uint64_t, Asked> asked_;                // and not ended, by tag
  uint64_t next_tag_ = 1;
  int64_t batch_ = 0;   // that have ended
  uint64_t first_ = 0;  // the first in rank after the last batch, and how much of it was planned
  size_t first_planned_ = 0;
  int32_t stall_ = 0;
  Tally tally_;
};

class EngineSoak : public testing::TestWithParam<int32_t> {};

TEST_P(EngineSoak, NobodyStarvesNothingIsWrongAndEveryBlockComesBack) {
  const int64_t batches = SoakBatches();
  Soak soak(GetParam());
  soak.Run(batches);
  const Tally& tally = soak.tally();
  const EngineMetrics metrics = soak.Metrics();
  const double needed = tally.needed_blocks / static_cast<double>(batches);
  std::printf(
      "depth %d: %lld batches, %lld requests, %lld tokens; pool %lld blocks of %.0f needed; %llu "
      "preemptions, "
      "%llu evictions, %llu tokens shared, %llu blocks copied, %llu batches failed; longest wait %lld "
      "batches "
      "(%.2f of what is allowed), longest stall %d\n",
      GetParam(), static_cast<long long>(metrics.batches), static_cast<long long>(tally.ended),
      static_cast<long long>(tally.tokens), static_cast<long long>(metrics.blocks_total), needed,
      static_cast<unsigned long long>(metrics.preemptions),
      static_cast<unsigned long long>(metrics.evictions),
      static_cast<unsigned long long>(metrics.shared_tokens),
      static_cast<unsigned long long>(metrics.copied_blocks),
      static_cast<unsigned long long>(metrics.batches_failed), static_cast<long long>(tally.most_waited),
      tally.most_of_bound, tally.longest_stall);
  if (testing::Test::HasFailure()) return;
  EXPECT_LE(static_cast<double>(metrics.blocks_total), kPoolShare * needed);
  for (const FinishReason reason :
       {FinishReason::kLength, FinishReason::kContext, FinishReason::kStop, FinishReason::kCancelled,
        FinishReason::kDeadline, FinishReason::kError}) {
    EXPECT_GE(tally.reasons.at(reason), 5) << static_cast<int>(reason);
  }
  EXPECT_GE(tally.most_waited, 20);
  EXPECT_GE(tally.forks, 20);
  EXPECT_GE(tally.rewinds, 20);
  EXPECT_GE(tally.refused, 5);
  EXPECT_GE(metrics.preemptions, 100u);
  EXPECT_GE(metrics.shared_tokens, 100u);
  EXPECT_GE(metrics.copied_blocks, 20u);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineSoak, testing::Values(1, 2));

}  // namespace
}  // namespace tessera

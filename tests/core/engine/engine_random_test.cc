// A model check by chance: random calls on a stepped engine, with failures, faults, cancels and deadlines
// among them. After each call blocks are conserved and idle sessions hold what the oracle says; in the end
// every request has had exactly one terminal event, with a reason that the calls explain.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/core/engine/engine_harness.h"

namespace tessera {
namespace {

constexpr int32_t kFaultToken = 290;

EngineOptions TightOptions() {
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 160;
  options.context_tokens = 120;
  options.batch_tokens = 13;
  options.batch_sequences = 3;
  options.max_requests = 6;
  options.max_sessions = 8;
  return options;
}

// How often what matters happened, over all seeds: chance that misses something checks nothing.
struct Tally {
  int seeds = 0;
  std::map<FinishReason, int> reasons;
  uint64_t evictions = 0, batches_failed = 0;
  int in_flight_cancels = 0;
  int in_flight_submits = 0;  // on a session whose cancelled request is still in a batch
  int pauses = 0;
  int forks = 0, rewinds = 0;
  uint64_t preemptions = 0, copied_blocks = 0, shared_tokens = 0;
  int slots = 0;      // rows whose token only an earlier step in flight knew
  int void_rows = 0;  // of these, rows of a request that had ended when their step was computed
};

class RandomHost {
 public:
  RandomHost(uint32_t seed, int32_t depth, Tally* tally)
      : h_(TightOptions(), depth), random_(seed), tally_(*tally) {
    h_.simulation->TakeTime(&h_.clock, 1);
    h_.simulation->FaultOn(kFaultToken);
    h_.simulation->BeforeRegion([this](const Simulation::Call& call) { CountSlots(call); });
  }

  void Run(int calls) {
    for (int i = 0; i < calls && !testing::Test::HasFailure(); ++i) {
      OneCall();
      Check();
    }
    h_.Run();
    Check();
    h_.engine->Close();
    h_.Drain();
    for (const auto& [tag, request] : requests_) CheckEvents(tag, request);
    const EngineMetrics metrics = h_.engine->GetMetrics();
    EXPECT_EQ(metrics.requests_accepted, requests_.size());
    EXPECT_EQ(metrics.requests_finished, requests_.size());
    EXPECT_EQ(metrics.blocks_free, metrics.blocks_total);
    ++tally_.seeds;
    tally_.evictions += metrics.evictions;
    tally_.preemptions += metrics.preemptions;
    tally_.copied_blocks += metrics.copied_blocks;
    tally_.shared_tokens += metrics.shared_tokens;
    tally_.batches_failed += metrics.batches_failed;
  }

 private:
  struct SubmittedRequest {
    std::vector<int32_t> prompt;
    RequestParams params;
    bool cancelled = false;
    bool dropped = false;
  };
  struct Host {
    std::shared_ptr<Session> session;
    std::vector<int32_t> tokens;  // when it was idle last
    uint64_t tag = 0;             // of its last request
    bool requested = false;       // since `tokens` was looked at
    bool released = false;
  };

  void CountSlots(const Simulation::Call& call) {
    if (call.kind != RegionKind::kEmbed) return;
    for (int32_t i = 0; i < call.view->sequence_count; ++i) {
      const SequenceView& sequence = call.view->sequences[i];
      if (call.view->tokens[sequence.first_row] != kSampledToken) continue;
      ++tally_.slots;
      for (const Host& host : hosts_) {  // whoever has these blocks, and no request
        if (host.session->blocks[0].data() == sequence.blocks[0] && host.session->request == nullptr) {
          ++tally_.void_rows;
        }
      }
    }
  }

  size_t Below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }
  bool Chance(int percent) { return Below(100) < static_cast<size_t>(percent); }

  Host* AnyHost() {
    std::vector<Host*> open;
    for (Host& host : hosts_) {
      if (!host.released) open.push_back(&host);
    }
    return open.empty() ? nullptr : open[Below(open.size())];
  }

  void OneCall() {
    const size_t call = Below(100);
    Host* const host = AnyHost();
    if (call < 5 || host == nullptr) return Create();
    if (call < 20) return Append(*host);
    if (call < 40) return Generate(*host);
    if (call < 45) return Cancel(*host);
    if (call < 47) return ReleaseHost(*host);
    if (call < 48) return Fork(*host);
    if (call < 49) return Rewind(*host);
    if (call < 50) return h_.clock.Advance(static_cast<int64_t>(Below(200)));
    if (call < 53) return FailSoon();
    if (call < 65) return h_.events.Drain(*h_.queue, 512 + 8 * Below(500));
    constexpr int64_t kBudgets[] = {-1, -1, 0, 1, 7, 50, 1000};
    const StepStats stats = h_.Step(kBudgets[Below(std::size(kBudgets))]);
    const EngineMetrics metrics = h_.engine->GetMetrics();
    if (!stats.work_left && metrics.requests_running + metrics.requests_queued > 0) ++tally_.pauses;
  }

  void Create() {
    auto session = h_.engine->CreateSession(Chance(20));
    const bool full = h_.engine->GetMetrics().sessions == TightOptions().max_sessions;
    if (!session.ok()) {
      EXPECT_TRUE(full);
      return;
    }
    Host host;
    host.session = *session;
    hosts_.push_back(host);
  }

  void Append(Host& host) {
    std::vector<int32_t> tokens = Prompt(static_cast<int>(Below(1000)), 1 + Below(25));
    if (Chance(5)) tokens.back() = kFaultToken;
    const bool idle = host.session->request == nullptr;
    const absl::Status status = h_.engine->Append(*host.session, tokens);
    if (!idle) {
      EXPECT_EQ(CodeOf(status), ErrorCode::kBusy);
    } else if (status.ok()) {
      host.tokens.insert(host.tokens.end(), tokens.begin(), tokens.end());
    } else {
      EXPECT_EQ(CodeOf(status), ErrorCode::kLimitExceeded);
      EXPECT_GT(host.tokens.size() + tokens.size(), 120u);
    }
  }

  void Fork(Host& host) {
    auto fork = h_.engine->Fork(*host.session, Chance(20));
    if (!fork.ok()) {
      EXPECT_EQ(CodeOf(fork.status()), ErrorCode::kLimitExceeded);
      return;
    }
    ++tally_.forks;
    Host made;
    made.session = *fork;
    made.tokens = h_.TokensOf(made.session);
    if (host.session->request == nullptr) {
      EXPECT_EQ(made.tokens, h_.TokensOf(host.session));
    }
    hosts_.push_back(made);
  }

  void Rewind(Host& host) {
    const size_t tokens = Below(host.tokens.size() + 2);
    const bool idle = host.session->request == nullptr;
    if (idle) NoteIdle(host);
    const absl::Status status = h_.engine->Rewind(*host.session, tokens);
    if (!idle) {
      EXPECT_EQ(CodeOf(status), ErrorCode::kBusy);
    } else if (tokens > host.tokens.size()) {
      EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidArgument);
    } else {
      EXPECT_TRUE(status.ok());
      host.tokens.resize(tokens);
      ++tally_.rewinds;
    }
  }

  RequestParams AnyParams() {
    RequestParams params;
    params.priority = static_cast<int32_t>(Below(3)) - 1;
    params.max_tokens = Chance(15) ? -1 : static_cast<int64_t>(Below(30));
    if (Chance(20)) params.deadline_ns = 1 + static_cast<int64_t>(Below(400));
    if (Chance(30)) params.sampling.temperature = 1;
    params.sampling.seed = Below(1000);
    if (Chance(20)) {
      params.sampling.presence_penalty = 1;
      params.sampling.penalty_window_tokens = static_cast<int32_t>(Below(40));
    }
    if (Chance(50)) params.sampling.top_logprobs = kMaxTopLogprobs;
    if (Chance(20)) params.stop_tokens = {3 + 'a' + static_cast<int32_t>(Below(26))};
    if (Chance(20)) params.stop = {std::string(1, static_cast<char>('a' + Below(26))), "xyz"};
    return params;
  }

  void Generate(Host& host) {
    const RequestParams params = AnyParams();
    const uint64_t tag = next_tag_;
    const bool idle = host.session->request == nullptr;
    const ErrorCode code = h_.TryGenerate(host.session, tag, params);
    if (code == ErrorCode::kOk) {
      EXPECT_TRUE(idle);
      if (host.session->in_flight != 0) ++tally_.in_flight_submits;
      ++next_tag_;
      requests_[tag].prompt = host.tokens;
      requests_[tag].params = params;
      host.tag = tag;
      host.requested = true;
    } else if (!idle) {
      EXPECT_EQ(code, ErrorCode::kBusy);
    } else if (host.tokens.empty()) {
      EXPECT_EQ(code, ErrorCode::kWrongState);
    } else {
      EXPECT_EQ(code, ErrorCode::kLimitExceeded);
    }
  }

  void Cancel(Host& host) {
    const CancelEffect effect = Chance(50) ? CancelEffect::kKeep : CancelEffect::kDrop;
    const bool idle = host.session->request == nullptr;
    if (!idle && host.session->in_flight != 0) ++tally_.in_flight_cancels;
    h_.engine->Cancel(*host.session, effect);
    if (idle) return;
    requests_[host.tag].cancelled = true;
    requests_[host.tag].dropped = effect == CancelEffect::kDrop;
    if (host.session->in_flight != 0 && Chance(70)) {
      NoteIdle(host);
      Generate(host);
    }
  }

  void ReleaseHost(Host& host) {
    if (host.session->request != nullptr) requests_[host.tag].cancelled = true;
    h_.engine->ReleaseSession(*host.session);
    host.released = true;
  }

  void FailSoon() {
    failures_ = true;
    h_.simulation->FailAt(h_.simulation->steps() + static_cast<int64_t>(Below(3)),
                          static_cast<int64_t>(Below(kHarnessRegions)),
                          Error(ErrorCode::kLost, "", "on purpose"));
  }

  // A session without a request: what its last one left there.
  void NoteIdle(Host& host) {
    const std::vector<int32_t> now = h_.TokensOf(host.session);
    if (host.requested) {
      const SubmittedRequest& request = requests_[host.tag];
      ASSERT_GE(now.size(), host.tokens.size());
      ASSERT_TRUE(std::equal(host.tokens.begin(), host.tokens.end(), now.begin()));
      if (request.dropped) {
        ASSERT_EQ(now.size(), host.tokens.size());
      }
      ASSERT_NO_FATAL_FAILURE(
          h_.CheckFollows(request.prompt, request.params.sampling,
                          {now.begin() + static_cast<std::ptrdiff_t>(host.tokens.size()), now.end()}));
      host.requested = false;
      host.tokens = now;
    }
    ASSERT_EQ(now, host.tokens);
  }

  void Check() {
    std::vector<std::shared_ptr<Session>> sessions;
    for (Host& host : hosts_) {
      sessions.push_back(host.session);
      if (host.released || host.session->request != nullptr) continue;
      ASSERT_NO_FATAL_FAILURE(NoteIdle(host));
    }
    ASSERT_NO_FATAL_FAILURE(ExpectBlocksConserved(*h_.engine, sessions));
    const EngineMetrics metrics = h_.engine->GetMetrics();
    ASSERT_EQ(metrics.requests_accepted, metrics.requests_finished +
                                             static_cast<uint64_t>(metrics.requests_running) +
                                             static_cast<uint64_t>(metrics.requests_queued));
    std::erase_if(hosts_, [](const Host& host) { return host.released && host.session->in_flight == 0; });
  }

  void CheckEvents(uint64_t tag, const SubmittedRequest& request) {
    const ReadEvents& events = h_.events.Of(tag);
    ASSERT_EQ(events.terminals, 1) << tag;
    ASSERT_NO_FATAL_FAILURE(h_.CheckFollows(request.prompt, request.params.sampling, events.tokens));
    const int64_t generated = events.finished.generated_tokens;
    ++tally_.reasons[events.reason()];
    switch (events.reason()) {
      case FinishReason::kLength:
        EXPECT_EQ(generated, request.params.max_tokens);
        break;
      case FinishReason::kContext:
        EXPECT_EQ(request.prompt.size() + static_cast<size_t>(generated), 120u);
        break;
      case FinishReason::kStop:
        EXPECT_FALSE(request.params.stop.empty() && request.params.stop_tokens.empty());
        break;
      case FinishReason::kDeadline:
        EXPECT_GT(request.params.deadline_ns, 0);
        break;
      case FinishReason::kCancelled:
        EXPECT_TRUE(request.cancelled);
        break;
      case FinishReason::kError:
        EXPECT_TRUE(failures_ || events.finished.status == static_cast<int32_t>(ErrorCode::kNumericFault));
        break;
      default:
        ADD_FAILURE() << "reason " << events.finished.reason;
    }
    EXPECT_EQ(request.cancelled, events.reason() == FinishReason::kCancelled);
    if (request.dropped) {
      EXPECT_EQ(generated, 0);
    }
  }

  EngineHarness h_;
  std::mt19937 random_;
  Tally& tally_;
  std::vector<Host> hosts_;
  std::map<uint64_t, SubmittedRequest> requests_;
  uint64_t next_tag_ = 1;
  bool failures_ = false;
};

constexpr int kSeeds = 16;

// (seed, steps in flight)
class EngineRandom : public testing::TestWithParam<std::tuple<uint32_t, int32_t>> {
 protected:
  static void TearDownTestSuite() {
    for (const auto& [depth, tally] : tallies) {
      if (tally.seeds < kSeeds) continue;  // not all of them were asked for
      SCOPED_TRACE(depth);
      for (const FinishReason reason :
           {FinishReason::kLength, FinishReason::kContext, FinishReason::kStop, FinishReason::kCancelled,
            FinishReason::kDeadline, FinishReason::kError}) {
        EXPECT_GE(tally.reasons.at(reason), 10) << static_cast<int>(reason);
      }
      EXPECT_GE(tally.evictions, 10u);
      EXPECT_GE(tally.batches_failed, 10u);
      EXPECT_GE(tally.in_flight_cancels, 10);
      EXPECT_GE(tally.in_flight_submits, 10);
      EXPECT_GE(tally.pauses, 1);
      EXPECT_GE(tally.forks, 10);
      EXPECT_GE(tally.rewinds, 10);
      EXPECT_GE(tally.preemptions, 10u);
      EXPECT_GE(tally.copied_blocks, 10u);
      EXPECT_GE(tally.shared_tokens, 10u);
      if (depth > 1) {
        EXPECT_GE(tally.slots, 100);
        EXPECT_GE(tally.void_rows, 10);
      }
    }
    tallies.clear();
  }
  static std::map<int32_t, Tally> tallies;
};
std::map<int32_t, Tally> EngineRandom::tallies;

TEST_P(EngineRandom, CallsInAnyOrderKeepTheEnginesPromises) {
  const auto [seed, depth] = GetParam();
  RandomHost host(seed, depth, &tallies[depth]);
  host.Run(1500);
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineRandom,
                         testing::Combine(testing::Range<uint32_t>(1, 1 + kSeeds), testing::Values(1, 2)));

}  // namespace
}  // namespace tessera

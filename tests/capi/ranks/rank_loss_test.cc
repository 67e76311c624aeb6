// One of an engine's processes is killed, or stopped, at any time of its life: the others answer every
// request and come to an end of their own, and their processes go on to compute. TESSERA_RANK_LOSSES says how
// many times this is tried (8).
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tessera/tessera.h"
#include "tests/capi/ranks/rank_group.h"

namespace tessera {
namespace {

// From the loss to the last answer of a rank that is left, with the default timeouts.
constexpr double kMostSeconds = 15;

std::vector<uint8_t> Model() {
  TinyModelOptions options = TinyOptionsOfType(TensorType::kQ8_0);
  options.layers = 4;
  options.context_tokens = 4096;
  return MakeTinyModel(options);
}

struct Fate {
  int tensor_parallel = 1, stages = 1;
  int victim = 0;
  std::string place;  // one of rank_process's, or "start", "prompt", "decode", "close": then this long after
  int delay_us = 0;
  bool stop = false;  // else killed
  bool stepped = false, shards = false;

  std::string Name() const {
    return std::string(stop ? "stop" : "kill") + " rank " + std::to_string(victim) + " of " +
           std::to_string(tensor_parallel) + " x " + std::to_string(stages) + " at " + place + " + " +
           std::to_string(delay_us) + " us" + (stepped ? ", stepped" : "") + (shards ? ", shards" : "");
  }
};

// Which phase, way and layout come together is fixed; the rest is drawn.
std::vector<Fate> Fates(int count) {
  constexpr int kLayouts[][2] = {{2, 1}, {1, 2}, {3, 1}, {2, 2}};
  const char* const init[] = {"start",           "loaded",           "before_meeting_0",
                              "after_meeting_0", "before_meeting_1", "after_meeting_1",
                              "created"};
  const char* const phases[] = {"init", "prompt", "decode", "close"};
  std::mt19937 random(20);
  std::vector<Fate> fates;
  for (int i = 0; i < count; ++i) {
    Fate fate;
    fate.stop = i % 2 == 1;
    const int phase = i / 2 % 4;
    const int layout = (i + i / 4 + i / 16) % 4;
    fate.tensor_parallel = kLayouts[layout][0];
    fate.stages = kLayouts[layout][1];
    fate.victim = static_cast<int>(random() % static_cast<unsigned>(fate.tensor_parallel * fate.stages));
    fate.place = phase == 0 ? init[random() % 7] : phases[phase];
    fate.delay_us = phase == 0 ? 0 : static_cast<int>(random() % (phase == 3 ? 3'000 : 50'000));
    if (fate.place == "start") fate.delay_us = static_cast<int>(random() % 200'000);
    fate.stepped = random() % 3 == 0;
    fate.shards = random() % 2 == 0;
    fates.push_back(fate);
  }
  return fates;
}

// What a rank left behind: when it was answered, and the statuses of its requests.
struct Answered {
  int64_t at_ns = 0;
  std::vector<int> statuses;
};
Answered Parse(const std::string& text) {
  Answered answered;
  std::istringstream stream(text);
  stream >> answered.at_ns;
  for (int status; stream >> status;) answered.statuses.push_back(status);
  return answered;
}

// Seconds until the last rank that was left had been answered.
double Suffer(const Fate& fate, const std::vector<uint8_t>& model, const std::string& alone) {
  RankGroup group(fate.tensor_parallel, fate.stages, model);
  const bool closes = fate.place == "close";
  const bool at_start = fate.place == "start";
  const bool from_outside = closes || at_start || fate.place == "prompt" || fate.place == "decode";
  for (int rank = 0; rank < group.size(); ++rank) {
    std::vector<std::string> settings = {closes ? "life=closes" : "life=goes_on"};
    if (fate.stepped) settings.push_back("stepped=1");
    if (fate.shards) settings.push_back("shard=1");
    if (rank == fate.victim && !from_outside) {
      settings.insert(settings.end(), {"at=" + fate.place, fate.stop ? "way=stop" : "way=kill"});
    }
    group.Start(rank, settings);
  }
  int64_t fault_ns = 0;
  if (from_outside) {
    EXPECT_TRUE(at_start || group.AwaitFile(fate.place));
    std::this_thread::sleep_for(std::chrono::microseconds(fate.delay_us));
    fault_ns = MonotonicNs();
    group.Signal(fate.victim, fate.stop ? SIGSTOP : SIGKILL);
  } else {
    EXPECT_TRUE(group.AwaitFile("fault"));
    fault_ns = std::atoll(group.Read("fault").c_str());
  }

  double seconds = 0;
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank == fate.victim) continue;
    const int code = group.Await(rank);
    const Answered answered = Parse(group.Read("answered." + std::to_string(rank)));
    // A rank that is lost in the middle of the close may be lost after it for some.
    const bool well = code == TSR_STATUS_LOST || ((rank == 0 || closes) && code == TSR_STATUS_OK);
    EXPECT_TRUE(well) << "rank " << rank << " ended with " << code;
    for (const int status : answered.statuses) {
      EXPECT_TRUE(status == TSR_STATUS_LOST || (closes && status == TSR_STATUS_CLOSED)) << status;
    }
    EXPECT_TRUE(group.Read("alone." + std::to_string(rank)) == alone) << "rank " << rank;
    seconds = std::max(seconds, static_cast<double>(answered.at_ns - fault_ns) * 1e-9);
  }
  EXPECT_LT(seconds, kMostSeconds);
  if (!fate.stop) return seconds;
  // One that comes back finds the others gone, and ends as they did.
  group.Signal(fate.victim, SIGCONT);
  const int code = group.Await(fate.victim);
  EXPECT_TRUE(code == TSR_STATUS_LOST || ((fate.victim == 0 || closes) && code == TSR_STATUS_OK)) << code;
  return seconds;
}

TEST(RankLoss, IsAnsweredByAllOthersInTimeWhereverItHappens) {
  const char* const wanted = std::getenv("TESSERA_RANK_LOSSES");
  const std::vector<Fate> fates = Fates(wanted != nullptr ? std::atoi(wanted) : 8);
  const std::vector<uint8_t> model = Model();
  RankGroup one(1, 1, model);
  one.Start(0, {"life=computes"});
  ASSERT_EQ(one.Await(0), 0);
  const std::string alone = one.Read("result");
  ASSERT_FALSE(alone.empty());

  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::vector<double> times;
  std::vector<std::thread> lanes;  // most of the time is spent waiting for a silence to be long enough
  constexpr int kLanes = 2;
  lanes.reserve(kLanes);
  for (int lane = 0; lane < kLanes; ++lane) {
    lanes.emplace_back([&] {
      for (size_t i = next++; i < fates.size(); i = next++) {
        SCOPED_TRACE(fates[i].Name());
        const double seconds = Suffer(fates[i], model, alone);
        const std::lock_guard<std::mutex> lock(mutex);
        times.push_back(seconds);
        std::printf("%6.3f s  %s\n", seconds, fates[i].Name().c_str());
        std::fflush(stdout);
      }
    });
  }
  for (std::thread& lane : lanes) lane.join();
  std::sort(times.begin(), times.end());
  std::printf("%zu losses: median %.3f s, most %.3f s\n", times.size(), times[times.size() / 2],
              times.back());
}

TEST(RankLoss, WhileThereIsNoWorkIsToldToAllFollowersAndAnswersTheNextRequest) {
  const std::vector<uint8_t> model = Model();
  for (const int signal : {SIGKILL, SIGSTOP}) {
    RankGroup group(3, 1, model);
    for (int rank = 0; rank < 3; ++rank) group.Start(rank, {"life=idles"});
    ASSERT_TRUE(group.AwaitFile("idle"));
    group.Signal(2, signal);
    EXPECT_EQ(group.Await(1), TSR_STATUS_LOST);
    group.Leave("work");
    EXPECT_EQ(group.Await(0), TSR_STATUS_OK);
    // Those that came after the first may have been refused.
    const std::vector<int> statuses = Parse(group.Read("answered.0")).statuses;
    ASSERT_FALSE(statuses.empty());
    EXPECT_EQ(statuses, std::vector<int>(statuses.size(), TSR_STATUS_LOST));
  }
}

TEST(RankLoss, OfAFollowerWhoseHostClosesItsEngineIsToldToAll) {
  const std::vector<uint8_t> model = Model();
  RankGroup group(3, 1, model);
  for (int rank = 0; rank < 3; ++rank) group.Start(rank, {rank == 1 ? "life=leaves" : "life=goes_on"});
  EXPECT_EQ(group.Await(0), TSR_STATUS_OK);
  EXPECT_EQ(group.Await(1), TSR_STATUS_LOST);
  EXPECT_EQ(group.Await(2), TSR_STATUS_LOST);
  EXPECT_EQ(Parse(group.Read("answered.0")).statuses, std::vector<int>(4, TSR_STATUS_LOST));
}

}  // namespace
}  // namespace tessera

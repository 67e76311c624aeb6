// Eight threads that make every call of the public header in random order on handles that they share: for the
// sanitizers, and for answers that no schedule may bring about. TESSERA_STRESS_CALLS sets how many calls a
// thread makes.
#include "tests/capi/stress/every_call.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

constexpr int kThreads = 8;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int64_t kCalls = 2500;
#else
constexpr int64_t kCalls = 10000;
#endif

int64_t CallsOfAThread() {
  const char* const wanted = std::getenv("TESSERA_STRESS_CALLS");
  return wanted == nullptr ? kCalls : std::atoll(wanted);
}

// Whatever the header declares with TSR_API: it is what exports.map lets out.
std::set<std::string> DeclaredFunctions() {
  std::ifstream file(TESSERA_HEADER);
  std::stringstream text;
  text << file.rdbuf();
  const std::string header = text.str();
  std::set<std::string> names;
  for (size_t at = 0; (at = header.find("\nTSR_API ", at)) != std::string::npos; ++at) {
    const size_t end = header.find('(', at);
    const size_t begin = header.find_last_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", end - 1) + 1;
    names.insert(header.substr(begin, end - begin));
  }
  return names;
}

TEST(EveryCall, OfTheHeaderIsInTheTable) {
  const std::set<std::string> declared = DeclaredFunctions();
  EXPECT_GT(declared.size(), 50u);
  std::set<std::string> listed;
  for (const EveryCall& call : EveryCalls()) {
    EXPECT_TRUE(listed.insert(call.name).second) << call.name << " is listed twice";
    EXPECT_EQ(declared.count(call.name), 1u) << call.name << " is not in the header";
  }
  for (const std::string& name : declared) {
    EXPECT_EQ(listed.count(name), 1u) << name << " has no line in tests/capi/stress/every_call.cc";
  }
}

void Act(World& world, uint64_t seed, int64_t calls, std::map<std::string, Counts>& counts) {
  Caller caller(&world, seed);
  int whole = 0;
  for (const EveryCall& call : EveryCalls()) whole += call.weight;
  for (int64_t i = 0; i < calls; ++i) {
    int at = caller.random.Below(whole);
    const EveryCall* chosen = EveryCalls().data();
    while (at >= chosen->weight) at -= (chosen++)->weight;
    caller.counts = &counts.at(chosen->name);
    chosen->call(caller);
  }
}

TEST(EveryCall, FromEightThreadsInAnyOrderIsAnsweredRightly) {
  TinyModelOptions options;
  options.layers = 1;
  options.context_tokens = 160;
  std::map<std::string, Counts> counts;
  for (const EveryCall& call : EveryCalls()) counts[call.name];
  {
    World world(MakeTinyModel(options));
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] { Act(world, 1 + i, CallsOfAThread(), counts); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  int64_t busy = 0;
  for (const auto& [name, count] : counts) {
    EXPECT_EQ(count.wrong.load(), 0) << name << ": " << tsr_status_name(count.wrong_status.load());
    EXPECT_GT(count.done.load(), 0) << name << " never succeeded in " << count.calls.load() << " calls";
    busy += count.busy.load();
    RecordProperty(name, std::to_string(count.done.load()) + " of " + std::to_string(count.calls.load()));
  }
  EXPECT_GT(busy, 50) << "nobody was in another's way";
}

}  // namespace
}  // namespace tessera::host

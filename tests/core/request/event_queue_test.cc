// The queue between engines and a host: order, wake-ups, the descriptor, closing, and who is told when.
#include "core/request/event_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/doubles/event_reader.h"

namespace tessera {
namespace {

class CallingListener final : public ReadyListener {
 public:
  explicit CallingListener(std::function<void()> on_ready) : on_ready_(std::move(on_ready)) {}
  void OnReady() noexcept override { on_ready_(); }

 private:
  std::function<void()> on_ready_;
};

class CountingRoom final : public RoomListener {
 public:
  void OnRoom() noexcept override {
    ++calls;
    if (then) then();
  }
  std::atomic<int> calls{0};
  std::function<void()> then;
};

std::shared_ptr<EventQueue> NewQueue(std::function<void()> on_ready = nullptr) {
  if (!on_ready) return *EventQueue::Create(nullptr);
  return *EventQueue::Create(std::make_unique<CallingListener>(std::move(on_ready)));
}

std::shared_ptr<EventSource> Source(uint64_t tag) { return std::make_shared<EventSource>(tag, tag, 64); }

bool PostToken(EventQueue& queue, EventSource& source, int32_t token) {
  TokenOutput output;
  output.tag = source.tag;
  output.has_token = true;
  output.token = token;
  return queue.PostToken(source, output);
}

bool PostEnd(EventQueue& queue, EventSource& source) {
  FinishedRecord record;
  record.head.tag = source.tag;
  return queue.PostTerminal(source, record, "");
}

bool Readable(EventQueue& queue) {
  pollfd entry = {queue.descriptor(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN) != 0;
}

EventQueue::PollResult PollOnce(EventQueue& queue, std::vector<uint64_t>& buffer) {
  return queue.Poll(0, reinterpret_cast<uint8_t*>(buffer.data()), buffer.size() * 8);
}

TEST(EventQueue, DeliversRequestsInTheOrderInWhichTheyBecameReady) {
  const auto queue = NewQueue();
  const auto a = Source(1), b = Source(2), c = Source(3);
  PostToken(*queue, *b, 1);
  PostToken(*queue, *a, 2);
  PostToken(*queue, *b, 3);  // b waits already
  PostToken(*queue, *c, 4);
  EventReader reader;
  reader.Drain(*queue);
  EXPECT_EQ(reader.order(), (std::vector<uint64_t>{2, 2, 1, 3}));
  EXPECT_EQ(reader.Of(2).tokens, (std::vector<int32_t>{1, 3}));
}

TEST(EventQueue, ARequestCutOffByTheBufferGoesOnFirst) {
  const auto queue = NewQueue();
  const auto a = Source(1), b = Source(2);
  for (int32_t token = 0; token < 3; ++token) PostToken(*queue, *a, token);
  PostToken(*queue, *b, 9);
  std::vector<uint64_t> buffer(2 * 64 / 8);
  EventReader reader;
  for (int i = 0; i < 2; ++i) {
    const auto result = PollOnce(*queue, buffer);
    EXPECT_EQ(result.used, 128u);
    reader.Read(reinterpret_cast<uint8_t*>(buffer.data()), result.used);
  }
  EXPECT_EQ(reader.order(), (std::vector<uint64_t>{1, 1, 1, 2}));
  EXPECT_EQ(PollOnce(*queue, buffer).used, 0u);
}

TEST(EventQueue, ARecordLargerThanTheBufferStaysAndItsSizeIsTold) {
  const auto queue = NewQueue();
  const auto a = Source(1);
  PostToken(*queue, *a, 5);
  std::vector<uint64_t> small(7);
  const auto result = PollOnce(*queue, small);
  EXPECT_EQ(result.used, 0u);
  EXPECT_EQ(result.needed, 64u);
  EXPECT_TRUE(Readable(*queue));
  EventReader reader;
  reader.Drain(*queue);
  EXPECT_EQ(reader.Of(1).tokens, std::vector<int32_t>{5});
}

TEST(EventQueue, AnEmptyPollReturnsAtOnceOrAfterItsTimeout) {
  const auto queue = NewQueue();
  std::vector<uint64_t> buffer(100);
  for (const int64_t timeout : {int64_t{0}, int64_t{1000}}) {
    const auto result = queue->Poll(timeout, reinterpret_cast<uint8_t*>(buffer.data()), 800);
    EXPECT_EQ(result.used, 0u);
    EXPECT_FALSE(result.closed || result.woken || result.busy);
  }
}

TEST(EventQueue, TheFarthestTimeoutStillHearsOfAnEvent) {
  const auto queue = NewQueue();
  const auto a = Source(1);
  std::thread engine([&] { PostToken(*queue, *a, 5); });
  std::vector<uint64_t> buffer(100);
  EXPECT_EQ(queue->Poll(INT64_MAX, reinterpret_cast<uint8_t*>(buffer.data()), 800).used, 64u);
  engine.join();
}

TEST(EventQueue, APollThatWaitsWithoutEndIsWokenByAnEventAWakeAndAClose) {
  enum class By { kToken, kTerminal, kWake, kClose };
  for (const By by : {By::kToken, By::kTerminal, By::kWake, By::kClose}) {
    const auto queue = NewQueue();
    const auto a = Source(1);
    EventQueue::PollResult result;
    std::thread poller([&] {
      std::vector<uint64_t> buffer(100);
      result = queue->Poll(-1, reinterpret_cast<uint8_t*>(buffer.data()), 800);
    });
    if (by == By::kToken) PostToken(*queue, *a, 1);
    if (by == By::kTerminal) PostEnd(*queue, *a);
    if (by == By::kWake) queue->Wake();
    if (by == By::kClose) queue->Close();
    poller.join();
    EXPECT_EQ(result.used > 0, by == By::kToken || by == By::kTerminal);
    EXPECT_EQ(result.woken, by == By::kWake);
    EXPECT_EQ(result.closed, by == By::kClose);
  }
}

TEST(EventQueue, AWakeIsRememberedUntilOnePollReturns) {
  const auto queue = NewQueue();
  queue->Wake();
  queue->Wake();
  std::vector<uint64_t> buffer(100);
  EXPECT_TRUE(queue->Ready());
  EXPECT_TRUE(queue->Poll(-1, reinterpret_cast<uint8_t*>(buffer.data()), 800).woken);
  EXPECT_FALSE(queue->Ready());
  EXPECT_FALSE(PollOnce(*queue, buffer).woken);
}

TEST(EventQueue, ADescriptorThatIsAskedForLateShowsWhatWaits) {
  const auto waiting = NewQueue(), polled = NewQueue(), woken = NewQueue();
  const auto a = Source(1), b = Source(2);
  PostToken(*waiting, *a, 1);
  PostToken(*polled, *b, 1);
  EventReader().Drain(*polled);
  woken->Wake();
  EXPECT_TRUE(Readable(*waiting));
  EXPECT_FALSE(Readable(*polled));
  EXPECT_TRUE(Readable(*woken));
}

TEST(EventQueue, ItsDescriptorIsReadableAsLongAsAPollWouldReturnAtOnce) {
  const auto queue = NewQueue();
  const auto a = Source(1);
  std::vector<uint64_t> one(64 / 8), large(100);
  EXPECT_FALSE(Readable(*queue));
  PostToken(*queue, *a, 1);
  PostToken(*queue, *a, 2);
  EXPECT_TRUE(Readable(*queue));
  EXPECT_TRUE(Readable(*queue));  // a level, not an edge
  PollOnce(*queue, one);
  EXPECT_TRUE(Readable(*queue));
  PollOnce(*queue, one);
  EXPECT_FALSE(Readable(*queue));
  queue->Wake();
  EXPECT_TRUE(Readable(*queue));
  PollOnce(*queue, large);
  EXPECT_FALSE(Readable(*queue));
  queue->Close();
  EXPECT_TRUE(Readable(*queue));
  PollOnce(*queue, large);
  EXPECT_TRUE(Readable(*queue));  // closed for good
}

TEST(EventQueue, ASecondPollerIsTurnedAway) {
  const auto queue = NewQueue();
  std::atomic<bool> first_done{false};
  std::thread first([&] {
    std::vector<uint64_t> buffer(100);
    queue->Poll(-1, reinterpret_cast<uint8_t*>(buffer.data()), 800);
    first_done.store(true);
  });
  std::vector<uint64_t> buffer(100);
  // Nothing but this thread can end the first one's wait: one of the polls is turned away before that.
  while (!PollOnce(*queue, buffer).busy) std::this_thread::yield();
  EXPECT_FALSE(first_done.load());
  queue->Wake();
  first.join();
  EXPECT_FALSE(PollOnce(*queue, buffer).busy);
}

TEST(EventQueue, ACloseDeliversWhatWasPostedAndThenAnswersClosed) {
  const auto queue = NewQueue();
  const auto a = Source(1);
  PostToken(*queue, *a, 1);
  PostEnd(*queue, *a);
  queue->Close();
  std::vector<uint64_t> one(64 / 8), large(100);
  auto result = PollOnce(*queue, one);
  EXPECT_EQ(result.used, 64u);
  EXPECT_FALSE(result.closed);
  result = PollOnce(*queue, one);  // the terminal record does not fit: not lost, not closed
  EXPECT_GT(result.needed, 64u);
  EXPECT_FALSE(result.closed);
  EXPECT_GT(PollOnce(*queue, large).used, 64u);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(PollOnce(*queue, large).closed);
  EXPECT_TRUE(queue->Poll(-1, reinterpret_cast<uint8_t*>(large.data()), 800).closed);
}

TEST(EventQueue, OnReadyIsToldOfTheEdgeOnly) {
  int calls = 0;
  const auto queue = NewQueue([&calls] { ++calls; });
  const auto a = Source(1), b = Source(2);
  EXPECT_TRUE(PostToken(*queue, *a, 1));  // the poster calls CallReady when it holds no lock
  EXPECT_EQ(calls, 0);
  queue->CallReady();
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(PostToken(*queue, *a, 2));
  EXPECT_FALSE(PostEnd(*queue, *b));
  queue->Wake();  // ready already
  EXPECT_EQ(calls, 1);
  EventReader reader;
  reader.Drain(*queue);
  queue->Wake();
  EXPECT_EQ(calls, 2);
  queue->Wake();
  EXPECT_EQ(calls, 2);
  reader.Drain(*queue);
  EXPECT_TRUE(PostEnd(*queue, *a));
  reader.Drain(*queue);
  queue->Close();
  EXPECT_EQ(calls, 3);
}

TEST(EventQueue, OnReadyMayUseTheQueueBecauseNoLockIsHeld) {
  std::shared_ptr<EventQueue> queue;
  int calls = 0;
  queue = NewQueue([&] {
    ++calls;
    EXPECT_TRUE(queue->Ready());
    queue->Wake();
    std::vector<uint64_t> buffer(100);
    PollOnce(*queue, buffer);
  });
  queue->Wake();
  EXPECT_EQ(calls, 1);
  queue->Close();
  EXPECT_EQ(calls, 2);
}

TEST(EventQueue, AStarvedRequestsListenerHearsOfTheNextDrainOnce) {
  const auto queue = NewQueue();
  const auto a = Source(1);
  const auto room = std::make_shared<CountingRoom>();
  queue->SetListener(*a, room);
  EventReader reader;
  PostToken(*queue, *a, 0);
  reader.Drain(*queue);
  EXPECT_EQ(room->calls, 0);  // nobody had asked for room
  while (queue->HasRoom(*a)) PostToken(*queue, *a, 1);
  EXPECT_FALSE(queue->HasRoom(*a));
  EXPECT_EQ(room->calls, 0);
  bool had_room = false;
  room->then = [&] { had_room = queue->HasRoom(*a); };  // without a lock
  std::vector<uint64_t> buffer(1000);
  PollOnce(*queue, buffer);
  EXPECT_EQ(room->calls, 1);
  EXPECT_TRUE(had_room);
  PollOnce(*queue, buffer);
  EXPECT_EQ(room->calls, 1);
}

TEST(EventQueue, AListenerThatIsGoneIsNotCalled) {
  const auto queue = NewQueue();
  const auto a = Source(1);
  {
    const auto room = std::make_shared<CountingRoom>();
    queue->SetListener(*a, room);
  }
  while (queue->HasRoom(*a)) PostToken(*queue, *a, 1);
  EventReader reader;
  reader.Drain(*queue);
  EXPECT_TRUE(queue->HasRoom(*a));
}

TEST(EventQueue, AbandonedItThrowsEventsAwayAndHoldsNobodyUp) {
  int calls = 0;
  auto queue = NewQueue([&calls] { ++calls; });
  auto a = Source(1), b = Source(2);
  const std::weak_ptr<EventSource> watch_a = a, watch_b = b;
  const auto room = std::make_shared<CountingRoom>();
  queue->SetListener(*a, room);
  while (queue->HasRoom(*a)) PostToken(*queue, *a, 1);
  PostEnd(*queue, *b);
  queue->Abandon();
  EXPECT_EQ(room->calls, 1);
  EXPECT_TRUE(queue->HasRoom(*a));
  EXPECT_FALSE(PostToken(*queue, *a, 1));
  EXPECT_FALSE(PostEnd(*queue, *a));
  EXPECT_EQ(calls, 0);
  a.reset();
  b.reset();
  EXPECT_TRUE(watch_a.expired() && watch_b.expired());
}

TEST(EventQueue, LetsGoOfARequestWhoseEventsAreDelivered) {
  const auto queue = NewQueue();
  auto a = Source(1);
  const std::weak_ptr<EventSource> watch = a;
  PostToken(*queue, *a, 1);
  PostEnd(*queue, *a);
  a.reset();
  EXPECT_FALSE(watch.expired());  // its events wait
  EventReader reader;
  reader.Drain(*queue);
  EXPECT_EQ(reader.Of(1).terminals, 1);
  EXPECT_TRUE(watch.expired());
}

TEST(EventQueue, AbandonsAnyNumberOfWaitingRequestsWithoutRecursion) {
  const auto queue = NewQueue();
  for (uint64_t tag = 0; tag < 20000; ++tag) {
    const auto source = std::make_shared<EventSource>(tag, tag, 1);
    PostEnd(*queue, *source);
    if (tag % 1000 == 999) queue->Ready();
  }
  queue->Abandon();
  EXPECT_EQ(queue.use_count(), 1);
}

TEST(EventQueue, ManyPostersAndOnePollerLoseNothing) {
  std::atomic<int> edges{0};
  const auto queue = NewQueue([&edges] { edges.fetch_add(1); });
  constexpr int kPosters = 4;
  constexpr int32_t kTokens = 2000;
  std::vector<std::thread> posters;
  for (uint64_t tag = 0; tag < kPosters; ++tag) {
    posters.emplace_back([&queue, tag] {
      const auto source = Source(tag);
      for (int32_t token = 0; token < kTokens; ++token) {
        while (!queue->HasRoom(*source)) std::this_thread::yield();
        if (PostToken(*queue, *source, token)) queue->CallReady();
        if (token % 100 == 0) queue->Wake();
      }
      if (PostEnd(*queue, *source)) queue->CallReady();
    });
  }
  EventReader reader;
  for (uint64_t tag = 0; tag < kPosters; ++tag) reader.WaitForEnd(*queue, tag);
  for (std::thread& poster : posters) poster.join();
  for (uint64_t tag = 0; tag < kPosters; ++tag) {
    const std::vector<int32_t>& tokens = reader.Of(tag).tokens;
    ASSERT_EQ(tokens.size(), static_cast<size_t>(kTokens));
    for (int32_t token = 0; token < kTokens; ++token) ASSERT_EQ(tokens[static_cast<size_t>(token)], token);
    EXPECT_EQ(reader.Of(tag).terminals, 1);
  }
  EXPECT_GT(edges.load(), 0);
}

}  // namespace
}  // namespace tessera

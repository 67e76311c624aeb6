#include "tests/capi/stress/crowd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

namespace tessera::host {
namespace {

const char* const kTexts[] = {"hello", "the other world of words", "<|im_start|>user\nin and on<|im_end|>\n",
                              "\xc3\xa4",
                              "1212 hello and the words of an other that is in the house of the morning"};

Options RandomOptions(RandomSource& random) {
  Options options;
  options.Int("request.max_tokens", random.OneIn(12) ? 0 : random.OneIn(10) ? -1 : 1 + random.Below(24));
  if (random.OneIn(2)) options.Bool("request.ignore_end", true);
  if (random.OneIn(3)) options.Float("sampling.temperature", 0.2 + 2 * random.Unit());
  if (random.OneIn(4)) options.Int("sampling.top_k", 1 + random.Below(400));
  if (random.OneIn(4)) options.Float("sampling.top_p", random.Unit());
  if (random.OneIn(5)) options.Float("sampling.min_p", random.Unit());
  if (random.OneIn(4)) options.Int("request.top_logprobs", random.Below(21));
  if (random.OneIn(4)) options.Float("sampling.repetition_penalty", 1 + random.Unit());
  if (random.OneIn(5)) options.Float("sampling.presence_penalty", random.Unit());
  if (random.OneIn(6)) options.Int("sampling.penalty_window", random.Below(500));
  if (random.OneIn(5)) options.Strings("request.stop", {"e", "the", "hello"});
  if (random.OneIn(5)) options.Ints("request.stop_tokens", {random.Below(300), random.Below(300)});
  if (random.OneIn(6)) {
    options.Ints("sampling.logit_bias_tokens", {7, 9}).Floats("sampling.logit_bias_values", {2, -1});
  }
  if (random.OneIn(5)) options.Int("request.deadline_ns", 1 + random.Below(5'000'000));
  return options;
}

}  // namespace

Crowd::Crowd(const Host* host, tsr_engine* engine, bool stepped)
    : host_(host), engine_(engine), stepped_(stepped), requests_(new Request[kMostRequests]) {
  for (int slot = 0; slot < kQueues; ++slot) {
    queues_[static_cast<size_t>(slot)] = std::make_shared<SharedQueue>(host_->Queue().release(), slot);
  }
}

void Crowd::Check(tsr_status status, std::initializer_list<tsr_status> right, const char* call) {
  if (status == TSR_STATUS_OK || (status == TSR_STATUS_CLOSED && closing_.load())) return;
  EXPECT_TRUE(std::find(right.begin(), right.end(), status) != right.end())
      << call << ": " << tsr_status_name(status);
}

std::shared_ptr<SharedSession> Crowd::Session(int slot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sessions_[static_cast<size_t>(slot)];
}

std::shared_ptr<SharedQueue> Crowd::Queue(int slot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return queues_[static_cast<size_t>(slot)];
}

// The old session is released here or by whoever uses it last.
void Crowd::Replace(RandomSource& random, int slot) {
  std::shared_ptr<SharedSession> fresh;
  if (!random.OneIn(4)) {
    Options options;
    if (random.OneIn(3)) options.Bool("session.logits", true);
    tsr_session* handle = nullptr;
    const tsr_status status = tsr_session_create(engine_, options.get(), &handle, nullptr);
    Check(status, {TSR_STATUS_LIMIT_EXCEEDED}, "tsr_session_create");
    if (status == TSR_STATUS_OK) fresh = std::make_shared<SharedSession>(handle);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  sessions_[static_cast<size_t>(slot)].swap(fresh);
}

void Crowd::ReplaceQueue(int slot) {
  tsr_queue* handle = nullptr;
  const tsr_status status = tsr_queue_create(host_->runtime(), nullptr, &handle, nullptr);
  Check(status, {}, "tsr_queue_create");
  if (status != TSR_STATUS_OK) return;
  std::shared_ptr<SharedQueue> old;  // released without the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  old = std::make_shared<SharedQueue>(handle, next_queue_++);
  old.swap(queues_[static_cast<size_t>(slot)]);
}

bool Crowd::CanEnd(const Request& request) const {
  return std::any_of(queues_.begin(), queues_.end(), [&](const auto& queue) {
    return queue != nullptr && queue->id == request.queue.load();
  });
}

void Crowd::Append(RandomSource& random, tsr_session* session) {
  tsr_status status;
  if (random.OneIn(2)) {
    const std::string text = kTexts[random.Below(5)];
    status = tsr_session_append_text(session, text.data(), text.size(), random.Below(4), nullptr);
  } else {
    std::vector<int32_t> tokens(static_cast<size_t>(1 + random.Below(50)));
    for (int32_t& token : tokens) token = 3 + random.Below(297);
    status = tsr_session_append_tokens(session, tokens.data(), tokens.size(), nullptr);
  }
  Check(status, {TSR_STATUS_BUSY, TSR_STATUS_LIMIT_EXCEEDED}, "tsr_session_append");
}

void Crowd::Generate(RandomSource& random, tsr_session* session) {
  const Options options = RandomOptions(random);
  const std::shared_ptr<SharedQueue> queue = Queue(random.Below(kQueues));
  const int tag = next_tag_.fetch_add(1);
  if (tag >= kMostRequests) return;
  Request& request = requests_[static_cast<size_t>(tag)];
  request.queue.store(queue->id);
  const tsr_status status = tsr_session_generate(session, options.get(), queue->handle,
                                                 static_cast<uint64_t>(tag), nullptr, nullptr);
  Check(status, {TSR_STATUS_BUSY, TSR_STATUS_LIMIT_EXCEEDED, TSR_STATUS_WRONG_STATE}, "tsr_session_generate");
  if (status != TSR_STATUS_OK) return;
  accepted_.fetch_add(1);
  request.accepted.store(true);
}

void Crowd::Look(RandomSource& random, tsr_session* session) {
  size_t count = 0;
  int32_t tokens[16];
  float logits[512];
  switch (random.Below(4)) {
    case 0:
      return Check(tsr_session_token_count(session, &count, nullptr), {}, "tsr_session_token_count");
    case 1:
      return Check(tsr_session_get_tokens(session, 0, tokens, 16, &count, nullptr), {TSR_STATUS_BUSY},
                   "tsr_session_get_tokens");
    case 2:
      return Check(tsr_session_get_logits(session, logits, 512, &count, nullptr),
                   {TSR_STATUS_BUSY, TSR_STATUS_WRONG_STATE}, "tsr_session_get_logits");
    default:
      tsr_engine_metrics metrics = {};
      metrics.struct_size = sizeof(metrics);
      Check(tsr_engine_get_metrics(engine_, &metrics, nullptr), {}, "tsr_engine_get_metrics");
      EXPECT_LE(metrics.blocks_free, metrics.blocks_total);
  }
}

void Crowd::Read(const char* at, size_t size) {
  for (const char* const end = at + size; at < end;) {
    tsr_event head;
    std::memcpy(&head, at, sizeof(head));
    ASSERT_GE(head.size, sizeof(head));
    ASSERT_LT(head.tag, static_cast<uint64_t>(kMostRequests));
    Request& request = requests_[head.tag];
    if (head.kind == TSR_EVENT_FINISHED) {
      tsr_event_finished event;
      std::memcpy(&event, at, sizeof(event));
      EXPECT_NE(event.reason, TSR_FINISH_ERROR) << std::string(at + event.message_offset, event.message_size);
      if (event.reason == TSR_FINISH_CLOSED) {
        EXPECT_TRUE(closing_.load());
      }
      request.terminals.fetch_add(1);
      ended_.fetch_add(1);
    }
    at += head.size;
  }
}

void Crowd::Poll(SharedQueue& queue, int64_t timeout_ns) {
  uint64_t buffer[256];
  size_t used = 0;
  const tsr_status status = tsr_queue_poll(queue.handle, timeout_ns, buffer, sizeof(buffer), &used, nullptr);
  Check(status, {TSR_STATUS_BUSY}, "tsr_queue_poll");
  if (status == TSR_STATUS_OK) Read(reinterpret_cast<const char*>(buffer), used);
}

void Crowd::Step(RandomSource& random) {
  tsr_step_stats stats = {};
  stats.struct_size = sizeof(stats);
  const int64_t budget = random.OneIn(3) ? -1 : random.OneIn(2) ? 0 : random.Below(200'000);
  Check(tsr_engine_step(engine_, budget, &stats, nullptr), {TSR_STATUS_BUSY}, "tsr_engine_step");
}

void Crowd::Act(uint64_t seed, int count) {
  RandomSource random(seed);
  for (int i = 0; i < count; ++i) {
    const int slot = random.Below(kSessions);
    const std::shared_ptr<SharedSession> session = Session(slot);
    const int act = random.Below(100);
    if (session == nullptr || act < 4) {
      Replace(random, slot);
    } else if (act < 24) {
      Append(random, session->handle);
    } else if (act < 50) {
      Generate(random, session->handle);
    } else if (act < 60) {
      const int32_t effect = random.OneIn(2) ? TSR_CANCEL_KEEP : TSR_CANCEL_DROP;
      Check(tsr_session_cancel(session->handle, effect, nullptr), {}, "tsr_session_cancel");
    } else if (act < 66) {
      Look(random, session->handle);
    } else if (act < 68) {
      Check(tsr_queue_wake(Queue(random.Below(kQueues))->handle, nullptr), {}, "tsr_queue_wake");
    } else if (act == 68 && random.OneIn(3)) {
      ReplaceQueue(random.Below(kQueues));
    } else if (act < 84 || !stepped_) {
      Poll(*Queue(random.Below(kQueues)), random.OneIn(3) ? random.Below(300'000) : 0);
    } else {
      Step(random);
    }
  }
}

void Crowd::Drain() {
  RandomSource random(1);
  const auto waits_for = [&](const Request& request) {
    return request.accepted.load() && request.terminals.load() == 0 && CanEnd(request);
  };
  const int tags = std::min(next_tag_.load(), kMostRequests);
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  for (int tag = 0; tag < tags; ++tag) {
    while (waits_for(requests_[static_cast<size_t>(tag)])) {
      ASSERT_LT(std::chrono::steady_clock::now(), patience) << "request " << tag << " never ended";
      if (stepped_) Step(random);
      for (const auto& queue : queues_) Poll(*queue, stepped_ ? 0 : 100'000);
    }
  }
}

void Crowd::CheckEnds() const {
  const int tags = std::min(next_tag_.load(), kMostRequests);
  for (int tag = 0; tag < tags; ++tag) {
    const Request& request = requests_[static_cast<size_t>(tag)];
    if (!request.accepted.load()) {
      EXPECT_EQ(request.terminals.load(), 0) << "request " << tag << " was refused";
    } else if (CanEnd(request)) {
      EXPECT_EQ(request.terminals.load(), 1) << "request " << tag;
    } else {
      EXPECT_LE(request.terminals.load(), 1) << "request " << tag;
    }
  }
}

void Crowd::ReleaseSessions() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& session : sessions_) session.reset();
}

void Crowd::ReleaseQueues() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& queue : queues_) queue.reset();
}

}  // namespace tessera::host

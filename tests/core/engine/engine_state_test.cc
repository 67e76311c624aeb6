// Saved, restored and parked sessions on the simulated backend, whose next token depends on every row of the
// cache: what is restored is read, what is refused changes nothing, what is gone is computed again.
#include <gtest/gtest.h>

#include <thread>

#include "tests/core/engine/engine_harness.h"
#include "tests/doubles/failing_memory.h"

namespace tessera {
namespace {

std::vector<uint8_t> Saved(Engine& engine, Session& session, bool with_cache = true) {
  size_t size = 0;
  EXPECT_EQ(CodeOf(engine.Save(session, with_cache, {}, &size)), ErrorCode::kBufferTooSmall);
  std::vector<uint8_t> state(size);
  const absl::Status status = engine.Save(session, with_cache, absl::MakeSpan(state), &size);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(size, state.size());
  return state;
}

std::shared_ptr<Session> Restored(Engine& engine, const std::vector<uint8_t>& state, bool with_cache = true) {
  const auto session = engine.Restore(state, with_cache, false);
  EXPECT_TRUE(session.ok()) << session.status().message();
  return session.ok() ? *session : nullptr;
}

// A session that has generated 7 tokens after a prompt of 30; 36 of its 37 tokens are computed.
std::shared_ptr<Session> Used(EngineHarness& h) {
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 30));
  h.Generate(session, 1, 7);
  h.Run();
  return session;
}

TEST(EngineState, ARestoredSessionGoesOnFromItsCache) {
  EngineHarness from, to;
  const std::shared_ptr<Session> session = Used(from);
  const std::vector<uint8_t> state = Saved(*from.engine, *session);
  const std::shared_ptr<Session> restored = Restored(*to.engine, state);
  EXPECT_EQ(to.TokensOf(restored), from.TokensOf(session));
  EXPECT_EQ(restored->computed, 36u);
  EXPECT_EQ(to.TotalBlocks() - to.FreeBlocks(), 9);
  to.Generate(restored, 2, 12);
  to.Run();
  EXPECT_EQ(to.events.Of(2).tokens, to.oracle.Continue(from.TokensOf(session), 12));
  EXPECT_EQ(to.engine->GetMetrics().prompt_tokens, 1u) << "all but the last token was there";
  ExpectBlocksConserved(*to.engine, {restored});
}

TEST(EngineState, ItReadsTheRowsOfTheStateAndNoOthers) {
  EngineHarness from, to;
  const std::shared_ptr<Session> session = Used(from);
  std::vector<uint8_t> state = Saved(*from.engine, *session);
  state[kStateHeaderBytes + 2 * sizeof(StateGroup) + 37 * 4] ^=
      1;  // the first token's key in the first layer
  SealState(absl::MakeSpan(state));
  const std::shared_ptr<Session> restored = Restored(*to.engine, state);
  to.Generate(restored, 2, 12);
  to.Run();
  EXPECT_NE(to.events.Of(2).tokens, to.oracle.Continue(from.TokensOf(session), 12));
  // And nobody else takes them for what its tokens say.
  EXPECT_EQ(to.GenerateAlone(Prompt(1, 30), 7), to.oracle.Continue(Prompt(1, 30), 7));
}

TEST(EngineState, TheSameSessionGivesTheSameBytes) {
  EngineHarness one, other;
  Used(other);  // blocks there have held other rows before
  other.engine->ReleaseSession(*other.SessionOf(Prompt(5, 90)));
  const std::shared_ptr<Session> a = Used(one), b = other.SessionOf(Prompt(1, 30));
  other.Generate(b, 3, 7);
  other.Run();
  EXPECT_EQ(Saved(*one.engine, *a), Saved(*other.engine, *b));
}

TEST(EngineState, OfTokensAloneIsComputedAgain) {
  EngineHarness from, to;
  const std::shared_ptr<Session> session = Used(from);
  const std::vector<uint8_t> whole = Saved(*from.engine, *session);
  const std::vector<uint8_t> tokens = Saved(*from.engine, *session, /*with_cache=*/false);
  EXPECT_EQ(tokens.size(), 128u + 37 * 4 + 16);
  uint64_t tag = 1;
  for (const std::shared_ptr<Session>& restored :
       {Restored(*to.engine, tokens), Restored(*to.engine, whole, /*with_cache=*/false)}) {
    EXPECT_EQ(restored->computed, 0u);
    to.Generate(restored, ++tag, 12);
    to.Run();
    EXPECT_EQ(to.events.Of(tag).tokens, to.oracle.Continue(from.TokensOf(session), 12));
  }
}

TEST(EngineState, WhereTheCacheHasNoRoomItIsComputedAgain) {
  EngineHarness from;
  const std::shared_ptr<Session> session = Used(from);
  const std::vector<uint8_t> state = Saved(*from.engine, *session);
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 96;
  EngineHarness to(options);
  const std::shared_ptr<Session> running = to.SessionOf(Prompt(9, 60));
  to.Generate(running, 1, 30);
  for (int i = 0; i < 4; ++i) to.Step();
  const std::shared_ptr<Session> restored = Restored(*to.engine, state);
  EXPECT_EQ(restored->computed, 0u);
  to.Generate(restored, 2, 12);
  to.Run();
  EXPECT_EQ(to.events.Of(1).tokens, to.oracle.Continue(Prompt(9, 60), 30));
  EXPECT_EQ(to.events.Of(2).tokens, to.oracle.Continue(from.TokensOf(session), 12));
}

TEST(EngineState, IdleSessionsMakeRoomForARestoredOne) {
  EngineHarness from;
  const std::vector<uint8_t> state = Saved(*from.engine, *Used(from));
  EngineOptions options = HarnessOptions();
  options.cache_tokens = 96;
  EngineHarness to(options);
  const std::shared_ptr<Session> idle = to.SessionOf(Prompt(9, 80));
  to.Generate(idle, 1, 3);
  to.Run();
  const std::shared_ptr<Session> restored = Restored(*to.engine, state);
  EXPECT_EQ(restored->computed, 36u);
  EXPECT_EQ(idle->computed, 0u);
  EXPECT_EQ(to.engine->GetMetrics().evictions, 1u);
}

TEST(EngineState, IsRefusedWholeWhenAnyByteIsAnother) {
  EngineHarness from, to;
  const std::vector<uint8_t> state = Saved(*from.engine, *Used(from));
  for (size_t byte = 0; byte < state.size(); byte += byte < 300 ? 1 : 37) {
    std::vector<uint8_t> changed = state;
    changed[byte] ^= 0x40;
    EXPECT_FALSE(to.engine->Restore(changed, true, false).ok()) << byte;
    EXPECT_FALSE(to.engine->Restore(absl::MakeSpan(state).first(byte), true, false).ok()) << byte;
  }
  EXPECT_EQ(to.engine->GetMetrics().sessions, 0);
  EXPECT_EQ(to.FreeBlocks(), to.TotalBlocks());
}

TEST(EngineState, OfAnotherLayoutIsRefusedUnlessItsTokensAreAllThatIsWanted) {
  EngineHarness from;
  const std::vector<uint8_t> state = Saved(*from.engine, *Used(from));
  EngineOptions options = HarnessOptions();
  options.block_tokens = 8;
  EngineHarness to(options);
  EXPECT_EQ(CodeOf(to.engine->Restore(state, true, false).status()), ErrorCode::kMismatch);
  EXPECT_EQ(to.engine->GetMetrics().sessions, 0);
  EXPECT_NE(Restored(*to.engine, state, /*with_cache=*/false), nullptr);
}

TEST(EngineState, LimitsHoldAndNothingChanges) {
  EngineHarness from;
  const std::vector<uint8_t> state = Saved(*from.engine, *Used(from));
  EngineOptions options = HarnessOptions();
  options.context_tokens = 36;
  options.max_sessions = 1;
  EngineHarness shorter(options);
  EXPECT_EQ(CodeOf(shorter.engine->Restore(state, true, false).status()), ErrorCode::kLimitExceeded);
  options.context_tokens = 256;
  EngineHarness full(options);
  const std::shared_ptr<Session> only = full.SessionOf({});
  EXPECT_EQ(CodeOf(full.engine->Restore(state, true, false).status()), ErrorCode::kLimitExceeded);
  EXPECT_EQ(full.FreeBlocks(), full.TotalBlocks());
  full.engine->Close();
  EXPECT_EQ(CodeOf(full.engine->Restore(state, true, false).status()), ErrorCode::kClosed);
  size_t size = 0;
  EXPECT_EQ(CodeOf(full.engine->Save(*only, true, {}, &size)), ErrorCode::kClosed);
  EXPECT_EQ(CodeOf(full.engine->Park(*only)), ErrorCode::kClosed);
}

TEST(EngineState, TokensOutsideTheVocabularyAreRefused) {
  EngineHarness h;
  std::vector<uint8_t> state = Saved(*h.engine, *h.SessionOf({5, 6, 7}));
  const int32_t token = kHarnessVocabulary;
  std::memcpy(state.data() + kStateHeaderBytes + 4, &token, sizeof(token));
  SealState(absl::MakeSpan(state));
  EXPECT_EQ(CodeOf(h.engine->Restore(state, true, false).status()), ErrorCode::kCorrupt);
}

TEST(EngineState, WhileARequestRunsSaveAndParkAreBusy) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 30));
  h.Generate(session, 1, 7);
  h.Step();
  size_t size = 0;
  EXPECT_EQ(CodeOf(h.engine->Save(*session, true, {}, &size)), ErrorCode::kBusy);
  EXPECT_EQ(CodeOf(h.engine->Park(*session)), ErrorCode::kBusy);
  h.Run();
  EXPECT_EQ(h.events.Of(1).tokens, h.oracle.Continue(Prompt(1, 30), 7));
}

TEST(EngineState, AfterACancelTheSessionIsSavedAsOfTheLastBatch) {
  EngineHarness h, to;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 30));
  h.Generate(session, 1, 20);
  for (int i = 0; i < 4; ++i) h.Step();
  h.Step(0);
  h.engine->Cancel(*session, CancelEffect::kKeep);
  ASSERT_TRUE(session->in_flight) << "its batch may still write behind what is saved";
  const std::shared_ptr<Session> restored = Restored(*to.engine, Saved(*h.engine, *session));
  EXPECT_EQ(restored->computed, 33u);
  to.Generate(restored, 2, 9);
  to.Run();
  EXPECT_EQ(to.events.Of(2).tokens, to.oracle.Continue(h.TokensOf(session), 9));
  h.Run();
  ExpectBlocksConserved(*h.engine, {session});
}

TEST(EngineState, AParkedSessionHoldsNoBlocksAndGoesOnAsBefore) {
  EngineHarness h;
  const std::shared_ptr<Session> session = Used(h);
  EXPECT_TRUE(h.engine->Park(*session).ok());
  EXPECT_EQ(h.FreeBlocks(), h.TotalBlocks());
  const std::vector<int32_t> tokens = h.TokensOf(session);
  EXPECT_EQ(tokens.size(), 37u);
  h.Generate(session, 2, 9);
  h.Run();
  EXPECT_EQ(h.events.Of(2).tokens, h.oracle.Continue(tokens, 9));
  EXPECT_EQ(h.engine->GetMetrics().shared_tokens, 36u) << "nobody had needed its blocks meanwhile";
}

TEST(EngineState, ASessionParkedInABatchGivesItsBlocksBackAtItsEnd) {
  EngineHarness h;
  const std::shared_ptr<Session> session = h.SessionOf(Prompt(1, 30));
  h.Generate(session, 1, 20);
  for (int i = 0; i < 4; ++i) h.Step();
  h.Step(0);
  h.engine->Cancel(*session, CancelEffect::kKeep);
  ASSERT_TRUE(session->in_flight);
  EXPECT_TRUE(h.engine->Park(*session).ok());
  h.Step();
  EXPECT_EQ(h.FreeBlocks(), h.TotalBlocks());
}

TEST(EngineState, ACloseWhileSessionsAreSavedAndRestoredLeavesNoMemoryBehind) {
  for (int round = 0; round < 20; ++round) {
    FailingMemory memory;
    auto engine =
        Engine::Create(HarnessModel(), std::make_shared<SimulatedBackend>(std::make_shared<Simulation>()),
                       HarnessOptions(), MonotonicClock(), &memory, Logger());
    ASSERT_TRUE(engine.ok());
    EngineHarness from;
    const std::vector<uint8_t> state = Saved(*from.engine, *Used(from));
    std::thread host([&] {
      for (;;) {
        const auto session = (*engine)->Restore(state, true, false);
        if (!session.ok()) {
          EXPECT_EQ(CodeOf(session.status()), ErrorCode::kClosed);
          return;
        }
        std::vector<uint8_t> again(state.size());
        size_t size = 0;
        const absl::Status saved = (*engine)->Save(**session, true, absl::MakeSpan(again), &size);
        EXPECT_TRUE(!saved.ok() || again == state);
        (*engine)->ReleaseSession(**session);
      }
    });
    while ((*engine)->GetMetrics().sessions == 0) std::this_thread::yield();
    (*engine)->Close();
    host.join();
    EXPECT_EQ(memory.live_bytes(), 0u);
  }
}

}  // namespace
}  // namespace tessera

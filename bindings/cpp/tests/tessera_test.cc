// What tessera.hpp adds to the C API: results, options that remember, callbacks that may throw, handles that
// move.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <tessera/tessera.hpp>
#include <type_traits>

namespace {

static_assert(!std::is_copy_constructible_v<tessera::session> &&
              std::is_nothrow_move_constructible_v<tessera::session>);
static_assert(!std::is_copy_constructible_v<tessera::options> &&
              std::is_move_constructible_v<tessera::options>);
static_assert(std::is_copy_constructible_v<tessera::error>);

std::string ModelPath() { return std::string(std::getenv("TESSERA_CONFORMANCE_FOLDER")) + "/tiny.gguf"; }

class CppBinding : public ::testing::Test {
 protected:
  tessera::runtime runtime_ = *tessera::runtime::create();
};

TEST_F(CppBinding, GivenAMissingFileTheResultHoldsCodePlaceAndMessage) {
  const auto model = tessera::model::load(runtime_, "no/such/file");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.code(), tessera::status::not_found);
  EXPECT_EQ(model.error().place(), "no/such/file");
  EXPECT_FALSE(model.error().message().empty());
  const tessera::error copy = model.error();
  EXPECT_EQ(copy.what(), "TSR_STATUS_NOT_FOUND: " + std::string(model.error().message()));
}

TEST_F(CppBinding, OptionsRememberTheFirstRefusalAndTheCallAnswersIt) {
  tessera::options options;
  options.set("engine.threads", 1).set("no.such.key", 2).set("engine.threads", "three");
  EXPECT_EQ(options.error().place(), "setting 'no.such.key'");
  const auto model = tessera::model::load(runtime_, ModelPath());
  ASSERT_TRUE(model);
  const auto engine = tessera::engine::create(*model, options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.code(), tessera::status::invalid_argument);
  EXPECT_EQ(engine.error().place(), "setting 'no.such.key'");
}

TEST_F(CppBinding, AnExceptionInAProgressCallbackEndsTheLoadAndGoesNoFurther) {
  tessera::options options;
  options.on_progress([](uint64_t, uint64_t) -> bool { throw std::runtime_error("host"); });
  EXPECT_EQ(tessera::model::load(runtime_, ModelPath(), options).code(), tessera::status::cancelled);
}

TEST_F(CppBinding, AnExceptionInAReaderFailsTheLoadAndGoesNoFurther) {
  const auto model = tessera::model::load_reader(
      runtime_, 4096, [](uint64_t, void*, size_t) -> int64_t { throw std::runtime_error("host"); });
  EXPECT_EQ(model.code(), tessera::status::io_error);
}

TEST_F(CppBinding, ACallbackIsDroppedWithWhatHoldsItAlsoWhenItWasRefused) {
  const auto witness = std::make_shared<int>(0);
  {
    tessera::options options;
    options.on_ready([witness] { ++*witness; });
    EXPECT_EQ(witness.use_count(), 2);
    const auto queue = tessera::queue::create(runtime_, options);
    ASSERT_TRUE(queue);
  }
  EXPECT_EQ(witness.use_count(), 1);
  tessera::options refused;
  refused.set("no.such.key", 1).on_ready([witness] { ++*witness; });
  refused = tessera::options();
  EXPECT_EQ(witness.use_count(), 1);
}

TEST_F(CppBinding, GivenASmallBufferTheEventsComeAllTheSame) {
  const auto model = tessera::model::load(runtime_, ModelPath());
  const auto engine = tessera::engine::create(*model, tessera::options().set("engine.threads", 1));
  const auto session = tessera::session::create(*engine);
  const auto queue = tessera::queue::create(runtime_);
  ASSERT_TRUE(session->append("hello"));
  tessera::options options;
  options.set("request.max_tokens", 6).set("request.ignore_end", true).set("request.top_logprobs", 20);
  ASSERT_TRUE(session->generate(*queue, 7, options));
  tessera::event_buffer events(8);
  size_t tokens = 0;
  for (bool running = true; running;) {
    ASSERT_TRUE(queue->poll(events));
    for (const tessera::event event : events) {
      EXPECT_EQ(event.tag(), 7u);
      if (event.is_tokens()) {
        EXPECT_EQ(event.logprobs().size(), event.tokens().size());
        for (size_t i = 0; i < event.tokens().size(); ++i) {
          EXPECT_EQ(event.top(i).size(), 20u);
          EXPECT_EQ(event.top(i)[0].token, event.tokens()[i]);  // greedy
        }
        tokens += event.tokens().size();
      } else if (event.is_finished()) {
        EXPECT_EQ(event.reason(), tessera::finish_reason::length);
        running = false;
      }
    }
  }
  EXPECT_EQ(tokens, 6u);
}

TEST_F(CppBinding, HandlesMoveAndAreReleasedInAnyOrder) {
  auto model = *tessera::model::load(runtime_, ModelPath());
  auto engine = *tessera::engine::create(model);
  auto session = *tessera::session::create(engine);
  const tessera::session moved = std::move(session);
  model.release();
  engine.release();
  runtime_.release();
  ASSERT_TRUE(moved.append({5, 6, 7}));
  EXPECT_EQ(*moved.token_count(), 3u);
  EXPECT_EQ(session.token_count().code(),
            tessera::status::invalid_argument);  // moved from: refused, no crash
}

TEST_F(CppBinding, APlanAndTheDescriptionOfTheAbiCanBeHad) {
  const auto plan = tessera::plan_file(runtime_, ModelPath());
  ASSERT_TRUE(plan);
  EXPECT_GT(plan->host_bytes, 100000u);
  EXPECT_NE(tessera::abi().find("tsr_abi_describe"), std::string_view::npos);
  EXPECT_EQ(tessera::version(), "0.1.0");
}

}  // namespace

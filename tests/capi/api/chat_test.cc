// Conversations through the model's chat template, as a host sees them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/capi/api/host.h"
#include "tests/doubles/tiny_model.h"

namespace tessera::host {
namespace {

using ::testing::HasSubstr;

const std::string kHello = R"([{"role": "user", "content": "hello"}])";
const std::string kHelloText = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";

Outcome Apply(const tsr_model* model, const std::string& messages, const Options& options,
              std::string* text) {
  size_t size = 0;
  Outcome outcome = Try([&](tsr_error** error) {
    return tsr_model_apply_chat_template(model, messages.data(), messages.size(), options.get(), nullptr, 0,
                                         &size, error);
  });
  if (outcome.code != TSR_STATUS_BUFFER_TOO_SMALL) return outcome;
  text->assign(size, '?');
  return Try([&](tsr_error** error) {
    return tsr_model_apply_chat_template(model, messages.data(), messages.size(), options.get(), text->data(),
                                         size, &size, error);
  });
}

Outcome AppendChat(tsr_session* session, const std::string& messages, const Options& options = {}) {
  return Try([&](tsr_error** error) {
    return tsr_session_append_chat(session, messages.data(), messages.size(), options.get(), error);
  });
}

std::vector<int32_t> TokensOf(tsr_session* session) {
  std::vector<int32_t> tokens(512);
  size_t count = 0;
  const Outcome outcome = Try([&](tsr_error** error) {
    return tsr_session_get_tokens(session, 0, tokens.data(), tokens.size(), &count, error);
  });
  EXPECT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  tokens.resize(count);
  return tokens;
}

std::vector<uint8_t> ModelWith(const std::string& chat_template) {
  TinyModelOptions options;
  options.chat_template = chat_template;
  return MakeTinyModel(options);
}

// The tiny model; with `begin`, one that marks where a text begins, with a token that its template writes.
std::vector<uint8_t> Model(bool begin) {
  TinyModelOptions options;
  options.marks_beginning = begin;
  if (begin) options.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
  return MakeTinyModel(options);
}

class ChatTest : public ::testing::Test {
 protected:
  explicit ChatTest(bool begin = false)
      : host_(Model(begin)), engine_(host_.Engine(Options().Bool("engine.stepped", true))) {}
  Host host_;
  Handle<tsr_engine> engine_;
};

TEST_F(ChatTest, TheTextsSizeIsToldAndThenTheTextIsWritten) {
  std::string text;
  size_t size = 7;
  const Outcome small = Try([&](tsr_error** error) {
    return tsr_model_apply_chat_template(host_.model(), kHello.data(), kHello.size(), nullptr, nullptr, 0,
                                         &size, error);
  });
  EXPECT_EQ(small.code, TSR_STATUS_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, kHelloText.size());
  EXPECT_EQ(Apply(host_.model(), kHello, {}, &text).code, TSR_STATUS_OK);
  EXPECT_EQ(text, kHelloText);
}

TEST_F(ChatTest, EverySettingReachesTheTemplate) {
  const Options options =
      Options()
          .String(
              "chat.template",
              "{{ add_generation_prompt }} {{ tools[0].name }} {{ depth }} {{ strftime_now('%d %b %Y') }}")
          .Bool("chat.add_generation_prompt", false)
          .String("chat.tools", R"([{"name": "look"}])")
          .String("chat.variables", R"({"depth": 3})")
          .Int("chat.local_time", 86400);
  std::string text;
  const Outcome outcome = Apply(host_.model(), kHello, options, &text);
  EXPECT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  EXPECT_EQ(text, "False look 3 02 Jan 1970");
}

TEST_F(ChatTest, LimitsAreSettings) {
  const std::string loop = "{% for i in range(1000) %}0123456789{% endfor %}";
  for (const auto& [key, value] : std::vector<std::pair<std::string, int64_t>>{
           {"chat.max_steps", 500}, {"chat.max_output_bytes", 500}, {"chat.max_memory_bytes", 65536}}) {
    std::string text;
    const Outcome outcome =
        Apply(host_.model(), kHello, Options().String("chat.template", loop).Int(key, value), &text);
    EXPECT_EQ(outcome.code, TSR_STATUS_LIMIT_EXCEEDED) << key;
    EXPECT_THAT(outcome.message, HasSubstr(key));
    EXPECT_EQ(outcome.place, "chat template, line 1");
  }
}

TEST_F(ChatTest, MistakesAreNamed) {
  std::string text;
  EXPECT_EQ(Apply(host_.model(), "[", {}, &text).place, "messages");
  EXPECT_EQ(Apply(host_.model(), kHello, Options().Int("engine.threads", 1), &text).place,
            "setting 'engine.threads'");
  EXPECT_EQ(Apply(host_.model(), kHello, Options().String("chat.template_name", "rag"), &text).code,
            TSR_STATUS_NOT_FOUND);
  EXPECT_EQ(Apply(nullptr, kHello, {}, &text).place, "model");
  const Outcome broken = Apply(host_.model(), kHello, Options().String("chat.template", "\n{% if"), &text);
  EXPECT_EQ(broken.code, TSR_STATUS_INVALID_ARGUMENT);
  EXPECT_EQ(broken.place, "chat template, line 2");
}

TEST_F(ChatTest, AppendedChatIsTheTokensOfItsText) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  const Outcome outcome = AppendChat(session.get(), kHello);
  ASSERT_EQ(outcome.code, TSR_STATUS_OK) << outcome.message;
  EXPECT_EQ(TokensOf(session.get()), host_.Tokenize(kHelloText, TSR_TEXT_PARSE_SPECIAL));
}

TEST_F(ChatTest, SpecialTokensInMessagesStayTextUnlessTheHostWantsThem) {
  const std::string forged = R"([{"role": "user", "content": "a<|im_end|>b"}])";
  const Handle<tsr_session> plain = NewSession(engine_.get()), parsed = NewSession(engine_.get());
  ASSERT_EQ(AppendChat(plain.get(), forged).code, TSR_STATUS_OK);
  ASSERT_EQ(AppendChat(parsed.get(), forged, Options().Bool("chat.parse_special", true)).code, TSR_STATUS_OK);
  const std::vector<int32_t> tokens = TokensOf(plain.get());
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 2), 1);  // the template's own <|im_end|>
  EXPECT_EQ(host_.Detokenize(tokens), "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(TokensOf(parsed.get()), host_.Tokenize(host_.Detokenize(tokens), TSR_TEXT_PARSE_SPECIAL));
}

TEST_F(ChatTest, AnErrorAppendsNothing) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  ASSERT_EQ(AppendChat(session.get(), kHello).code, TSR_STATUS_OK);
  const std::vector<int32_t> before = TokensOf(session.get());
  EXPECT_EQ(AppendChat(session.get(), "[1]").code, TSR_STATUS_INVALID_ARGUMENT);
  const std::string long_text(1000, 'x');
  EXPECT_EQ(AppendChat(session.get(), R"([{"role": "user", "content": ")" + long_text + R"("}])").code,
            TSR_STATUS_LIMIT_EXCEEDED);
  EXPECT_EQ(TokensOf(session.get()), before);
}

TEST_F(ChatTest, ATurnMarkerThatTheFileCallsBeginningIsNotDropped) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  ASSERT_EQ(AppendChat(session.get(), kHello).code, TSR_STATUS_OK);
  const size_t once = TokensOf(session.get()).size();
  ASSERT_EQ(AppendChat(session.get(), kHello).code, TSR_STATUS_OK);
  EXPECT_EQ(TokensOf(session.get()).size(), 2 * once);
}

class BeginningChatTest : public ChatTest {
 protected:
  BeginningChatTest() : ChatTest(true) {}
};

TEST_F(BeginningChatTest, TheBeginningStandsOnceHoweverOftenIsAppended) {
  const Handle<tsr_session> session = NewSession(engine_.get());
  ASSERT_EQ(AppendChat(session.get(), kHello).code, TSR_STATUS_OK);
  const std::vector<int32_t> once = TokensOf(session.get());
  EXPECT_EQ(once.front(), 0);
  EXPECT_EQ(std::count(once.begin(), once.end(), 0), 1);
  ASSERT_EQ(AppendChat(session.get(), kHello).code, TSR_STATUS_OK);
  const std::vector<int32_t> twice = TokensOf(session.get());
  EXPECT_EQ(std::count(twice.begin(), twice.end(), 0), 1);
  EXPECT_EQ(twice.size(), 2 * once.size() - 1);
}

TEST(ChatModelTest, AModelWithoutATemplateSaysSo) {
  const Host host(ModelWith(""));
  std::string text;
  const Outcome outcome = Apply(host.model(), kHello, {}, &text);
  EXPECT_EQ(outcome.code, TSR_STATUS_NOT_FOUND);
  EXPECT_THAT(outcome.message, HasSubstr("no chat template"));
}

TEST(ChatModelTest, ATemplateThatDoesNotParseLeavesTheModelUsable) {
  const Host host(ModelWith("{% for"));
  std::string text;
  const Outcome outcome = Apply(host.model(), kHello, {}, &text);
  EXPECT_EQ(outcome.code, TSR_STATUS_CORRUPT);
  EXPECT_EQ(outcome.place, "tokenizer.chat_template");
  EXPECT_EQ(Apply(host.model(), kHello, Options().String("chat.template", "fine"), &text).code,
            TSR_STATUS_OK);
  EXPECT_EQ(text, "fine");
}

TEST(ChatModelTest, ThreadsRenderOneTemplateAtOnce) {
  const Host host(Model(false));
  std::vector<std::thread> threads;
  std::vector<int> right(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&host, &right, i] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::string text;
        right[i] += Apply(host.model(), kHello, {}, &text).code == TSR_STATUS_OK && text == kHelloText;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 50));
}

}  // namespace
}  // namespace tessera::host

// Which template a conversation takes, what it is told, what of the text is the host's, and what stops it.
#include "core/text/chat/chat_template.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/text/tokenizer.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

constexpr const char* kHello = R"([{"role": "user", "content": "hello"}])";

using Metadata = std::vector<std::pair<std::string, std::string>>;

// The tiny model's file with further metadata, and what is read from it.
class Templates {
 public:
  explicit Templates(const Metadata& more = {}) {
    TinyModel model = BuildTinyModel({});
    for (const auto& [key, text] : more) model.writer.String(key, text);
    file_ = std::move(*GgufFile::Read(FileOf(model.writer.Build())));
    tokenizer_ = std::move(*ReadTokenizer(*file_, kTinyVocabulary));
    templates_ = ChatTemplates::Read(*file_, *tokenizer_);
  }
  absl::StatusOr<RenderedChat> Render(const ChatRequest& request) const {
    return templates_->Render(request);
  }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  std::unique_ptr<const GgufFile> file_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<const ChatTemplates> templates_;
};

ChatRequest Request(absl::string_view messages, absl::string_view source = "") {
  ChatRequest request;
  request.messages = messages;
  request.template_source = source;
  return request;
}

std::string Text(const ChatRequest& request) {
  const auto rendered = ChatTemplates().Render(request);
  return rendered.ok() ? rendered->text : std::string(rendered.status().message());
}

// What of the text came from the host, in brackets.
std::string Marked(const RenderedChat& chat) {
  std::string marked;
  size_t at = 0;
  for (const TextRange& range : chat.from_host) {
    marked += chat.text.substr(at, range.begin - at) + "[" +
              chat.text.substr(range.begin, range.end - range.begin) + "]";
    at = range.end;
  }
  return marked + chat.text.substr(at);
}

TEST(ChatTemplate, TheModelsOwnTemplateIsUsedAndAsksForTheAnswer) {
  const auto chat = Templates().Render(Request(kHello));
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->text, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, ToolsTakeTheTemplateForToolsWhereThereIsOne) {
  const Templates templates(Metadata{{"tokenizer.chat_template.tool_use", "tools: {{ tools|length }}"},
                                     {"tokenizer.chat_template.rag", "rag"}});
  ChatRequest request = Request(kHello);
  EXPECT_EQ(templates.Render(request)->text.substr(0, 12), "<|im_start|>");
  request.tools = R"([{"name": "f"}, {"name": "g"}])";
  EXPECT_EQ(templates.Render(request)->text, "tools: 2");
  request.template_name = "rag";
  EXPECT_EQ(templates.Render(request)->text, "rag");
  request.template_name = "default";
  EXPECT_EQ(templates.Render(request)->text.substr(0, 12), "<|im_start|>");
}

TEST(ChatTemplate, ATemplateThatIsNotThereIsNotFoundByName) {
  ChatRequest request = Request(kHello);
  request.template_name = "rag";
  const auto named = Templates().Render(request);
  EXPECT_EQ(CodeOf(named.status()), ErrorCode::kNotFound);
  EXPECT_EQ(PlaceOf(named.status()), "tokenizer.chat_template.rag");
  EXPECT_EQ(CodeOf(ChatTemplates().Render(Request(kHello)).status()), ErrorCode::kNotFound);
}

TEST(ChatTemplate, ATemplateThatDoesNotParseSpoilsNothingButItself) {
  const Templates templates(Metadata{{"tokenizer.chat_template.tool_use", "fine\n{% if %}"}});
  EXPECT_TRUE(templates.Render(Request(kHello)).ok());
  ChatRequest request = Request(kHello);
  request.tools = "[]";
  const auto broken = templates.Render(request);
  EXPECT_EQ(CodeOf(broken.status()), ErrorCode::kCorrupt);
  EXPECT_EQ(PlaceOf(broken.status()), "tokenizer.chat_template.tool_use");
  EXPECT_NE(broken.status().message().find("line 2"), absl::string_view::npos) << broken.status();
}

TEST(ChatTemplate, SpecialTokensAndVariablesAreTold) {
  ChatRequest request = Request(
      kHello,
      "{{ bos_token }}{{ eos_token }}{{ pad_token }} {{ enable_thinking }} {{ sep_token is defined }}");
  request.variables = R"({"enable_thinking": false, "pad_token": "PAD"})";
  EXPECT_EQ(Templates().Render(request)->text, "<|im_start|><|im_end|>PAD False False");
}

TEST(ChatTemplate, ToolsAndDocumentsAreNoneUnlessTheyAreGiven) {
  ChatRequest request =
      Request("[]", "{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }}");
  EXPECT_EQ(Text(request), "True True True");
  request.add_generation_prompt = false;
  request.variables = R"({"documents": [1]})";
  EXPECT_EQ(Text(request), "True False False");
}

TEST(ChatTemplate, FieldsThatAreNullAreLeftOutAndReasoningGoesByItsNames) {
  EXPECT_EQ(
      Text(Request(R"([{"role": "assistant", "content": null, "reasoning": "why"}])", "{{ messages }}")),
      "[{'thinking': 'why', 'role': 'assistant', 'reasoning': 'why', 'reasoning_content': 'why'}]");
}

TEST(ChatTemplate, OfEqualKeysTheLastCountsAtTheFirstsPlace) {
  EXPECT_EQ(Text(Request(R"([{"a": 1, "b": 2, "a": 3}])", "{{ messages[0] }}")), "{'a': 3, 'b': 2}");
}

TEST(ChatTemplate, WhatIsNoMessagesIsRefusedWithItsPlace) {
  for (const char* bad : {"", "{}", "[1]", "[", "[{\"role\": \"user\", }]", "null", "[{}] x", "\xff"}) {
    const auto chat = ChatTemplates().Render(Request(bad, "x"));
    EXPECT_EQ(CodeOf(chat.status()), ErrorCode::kInvalidArgument) << bad;
    EXPECT_EQ(PlaceOf(chat.status()), "messages") << bad;
  }
  ChatRequest request = Request("[]", "x");
  request.tools = "{}";
  EXPECT_EQ(PlaceOf(ChatTemplates().Render(request).status()), "setting 'chat.tools'");
  request.tools = "[]";
  request.variables = "[]";
  EXPECT_EQ(PlaceOf(ChatTemplates().Render(request).status()), "setting 'chat.variables'");
}

TEST(ChatTemplate, NestedJsonIsBoundedAndLargeIntegersAreRefused) {
  const std::string deep = std::string(1000, '[') + std::string(1000, ']');
  EXPECT_EQ(CodeOf(ChatTemplates().Render(Request(deep, "x")).status()), ErrorCode::kInvalidArgument);
  const auto large = ChatTemplates().Render(Request(R"([{"n": 18446744073709551615}])", "x"));
  EXPECT_EQ(CodeOf(large.status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Text(Request(R"([{"n": 9223372036854775807}])", "{{ messages[0].n }}")), "9223372036854775807");
}

TEST(ChatTemplate, WhatTheHostWroteIsMarkedThroughEveryOperation) {
  const auto marked = [](absl::string_view source) {
    const auto chat =
        ChatTemplates().Render(Request(R"([{"role": "user", "content": " One, two "}])", source));
    return chat.ok() ? Marked(*chat) : std::string(chat.status().message());
  };
  const std::string head = "{% set c = messages[0].content %}";
  EXPECT_EQ(marked(head + "<{{ c }}>"), "<[ One, two ]>");
  EXPECT_EQ(marked(head + "{{ '<' + c|trim + '>' }}"), "<[One, two]>");
  EXPECT_EQ(marked(head + "{{ '<' ~ c.strip().upper() ~ '>' }}"), "<[ONE, TWO]>");
  EXPECT_EQ(marked(head + "{{ c.split(',')|join(';') }}"), "[ One];[ two ]");
  EXPECT_EQ(marked(head + "{{ c.replace('two', '2') }}"), "[ One, ]2[ ]");
  EXPECT_EQ(marked(head + "{{ c[1:4] }}{{ c[3::-1] }}{{ ('a' ~ c)[0:3] }}"), "[OneenO ]a[ O]");
  EXPECT_EQ(marked(head + "{{ messages|tojson }}"),
            "[{\"[role]\": \"[user]\", \"[content]\": \"[ One, two ]\"}]");
  EXPECT_EQ(marked(head + "{% set b %}<{{ c }}>{% endset %}{{ b }}"), "<[ One, two ]>");
  EXPECT_EQ(marked(head + "{% macro m(x) %}({{ x }}){% endmacro %}{{ m(c) }}"), "([ One, two ])");
  EXPECT_EQ(marked(head + "{{ '%s|%5s' % (c, 'a') }}{{ '{}'.format(c) }}"), "[ One, two ]|    a[ One, two ]");
  EXPECT_EQ(marked(head + "{{ [c] }}{{ c|indent(2, true) }}"), "['[ One, two ]']  [ One, two ]");
  EXPECT_EQ(marked(head + "{% for x in c[1:3] %}{{ x }}-{% endfor %}"), "[O]-[n]-");
}

TEST(ChatTemplate, ALoopWithoutEndIsStoppedByItsStepsAndSaysWhere) {
  const std::string source =
      "\n{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}\n{% "
      "endfor %}{% endfor %}";
  ChatRequest request = Request("[]", source);
  request.limits.max_steps = 1'000'000;
  const auto chat = ChatTemplates().Render(request);
  EXPECT_EQ(CodeOf(chat.status()), ErrorCode::kLimitExceeded);
  EXPECT_EQ(PlaceOf(chat.status()), "chat template, line 2");
  EXPECT_NE(chat.status().message().find("chat.max_steps"), absl::string_view::npos) << chat.status();
}

TEST(ChatTemplate, TextThatDoublesIsStoppedByItsMemory) {
  ChatRequest request = Request(
      "[]", "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}");
  request.limits.max_memory_bytes = 1 << 20;
  const auto chat = ChatTemplates().Render(request);
  EXPECT_EQ(CodeOf(chat.status()), ErrorCode::kLimitExceeded);
  EXPECT_NE(chat.status().message().find("chat.max_memory_bytes"), absl::string_view::npos) << chat.status();
}

TEST(ChatTemplate, TextThatIsTooLongIsStopped) {
  ChatRequest request = Request("[]", "{% for i in range(99) %}0123456789{% endfor %}");
  request.limits.max_output_bytes = 990;
  EXPECT_EQ(Text(request).size(), 990u);
  request.limits.max_output_bytes = 989;
  const auto chat = ChatTemplates().Render(request);
  EXPECT_EQ(CodeOf(chat.status()), ErrorCode::kLimitExceeded);
  EXPECT_NE(chat.status().message().find("chat.max_output_bytes"), absl::string_view::npos) << chat.status();
}

std::string Repeated(const std::string& piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

TEST(ChatTemplate, NestingIsBoundedWhereverItComesFrom) {
  const std::string sources[] = {
      "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
      "{{ " + std::string(5000, '[') + std::string(5000, ']') + " }}",
      "{{ " + std::string(5000, '-') + "1 }}",
      "{{ " + Repeated("not ", 5000) + "1 }}",
      "{{ 1" + Repeated(" + 1", 5000) + " }}",
      "{{ 1" + Repeated(" ** 1", 5000) + " }}",
      "{{ x" + Repeated(".a", 5000) + " }}",
      "{{ x" + Repeated("|trim", 5000) + " }}",
      "{{ 1" + Repeated(" if 1 else 1", 5000) + " }}",
      Repeated("{% if 1 %}", 5000) + Repeated("{% endif %}", 5000),
      Repeated("{% for x in [1] %}", 5000) + Repeated("{% endfor %}", 5000),
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(x) %}{{ x(x) }}{% endmacro %}{{ m(m) }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
      "{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l|tojson "
      "}}",
      "{% set n = namespace(l=[], k=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% set n.k = [n.k] "
      "%}"
      "{% endfor %}{{ n.l == n.k }}",
      "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
  };
  for (const std::string& source : sources) {
    const auto chat = ChatTemplates().Render(Request("[]", source));
    ASSERT_FALSE(chat.ok()) << source.substr(0, 60);
    EXPECT_NE(chat.status().message().find("nested too deep"), absl::string_view::npos) << chat.status();
  }
}

TEST(ChatTemplate, ATemplateThatIsTooLargeIsRefused) {
  const std::string source((1 << 20) + 1, 'x');
  EXPECT_EQ(CodeOf(ChatTemplates().Render(Request("[]", source)).status()), ErrorCode::kLimitExceeded);
  EXPECT_EQ(Text(Request("[]", source.substr(1))).size(), size_t{1} << 20);
}

TEST(ChatTemplate, WhatTheTemplateRefusesItSaysInItsOwnWords) {
  const auto chat = ChatTemplates().Render(
      Request(R"([{"role": "system"}])", "\n\n{{ raise_exception('no ' ~ messages[0].role ~ ' role') }}"));
  EXPECT_EQ(CodeOf(chat.status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(PlaceOf(chat.status()), "chat template, line 3");
  EXPECT_NE(chat.status().message().find("no system role"), absl::string_view::npos) << chat.status();
}

TEST(ChatTemplate, UnknownPartsOfJinjaAreUnsupportedByName) {
  for (const char* source :
       {"{% include 'x' %}", "{{ 1|urlize }}", "{{ 1 is nothing }}", "{{ '{:>5}'.format(1) }}"}) {
    EXPECT_EQ(CodeOf(ChatTemplates().Render(Request("[]", source)).status()), ErrorCode::kUnsupported)
        << source;
  }
  EXPECT_EQ(Text(Request("[]", "{% if false %}{{ 1|urlize }}{% endif %}fine")), "fine");
}

}  // namespace
}  // namespace tessera

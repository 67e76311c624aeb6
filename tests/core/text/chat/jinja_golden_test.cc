// Small templates, each about one thing, rendered by us and by Jinja2 as transformers sets it up
// (tests/goldens/chat/snippets.py, made by make.py there).
#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>

#include "core/text/chat/json_values.h"
#include "core/text/jinja/run.h"
#include "core/text/jinja/template.h"

namespace tessera {
namespace {

struct Rendered {
  absl::Status status;
  std::string text;
};

Rendered Render(absl::string_view source, absl::string_view context, int64_t local_time_s) {
  auto parsed = jinja::Template::Parse(source);
  if (!parsed.ok()) return {parsed.status(), ""};
  jinja::Run run(jinja::Limits(), LocalTimeOf(local_time_s));
  const auto variables = JsonToValue(run, context, "context");
  if (!variables.ok()) return {variables.status(), ""};
  for (size_t i = 0; i < variables->dict->size; ++i) {
    run.Define(variables->dict->entries[i].key.view(), variables->dict->entries[i].value);
  }
  const jinja::Text* text = run.Render((*parsed)->body());
  if (text == nullptr) return {run.status(), ""};
  return {absl::OkStatus(), std::string(text->data, text->size)};
}

class JinjaGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(parser_.load(TESSERA_GOLDENS "chat/snippets.json").get(document_), simdjson::SUCCESS);
    simdjson::dom::element context;
    ASSERT_EQ(document_["context"].get(context), simdjson::SUCCESS);
    context_ = simdjson::minify(context);
    ASSERT_EQ(document_["local_time_s"].get(local_time_s_), simdjson::SUCCESS);
  }

  simdjson::dom::parser parser_;
  simdjson::dom::element document_;
  std::string context_;
  int64_t local_time_s_ = 0;
};

TEST_F(JinjaGolden, EveryTemplateGivesTheTextOrTheRefusalThatJinja2Gives) {
  int texts = 0, refusals = 0;
  for (const simdjson::dom::element entry : document_["snippets"]) {
    const std::string_view source = entry["template"];
    std::string_view expected;
    const Rendered ours = Render({source.data(), source.size()}, context_, local_time_s_);
    if (entry["text"].get(expected) == simdjson::SUCCESS) {
      ++texts;
      EXPECT_TRUE(ours.status.ok()) << source << "\n" << ours.status.message();
      EXPECT_EQ(ours.text, expected) << source;
    } else {
      ++refusals;
      EXPECT_FALSE(ours.status.ok()) << source << "\ngave: " << ours.text;
    }
  }
  EXPECT_GT(texts, 150);
  EXPECT_GT(refusals, 90);
}

TEST_F(JinjaGolden, EveryRefusalSaysAtWhichLine) {
  for (const simdjson::dom::element entry : document_["snippets"]) {
    const std::string_view source = entry["template"];
    std::string_view text;
    if (entry["text"].get(text) == simdjson::SUCCESS) continue;
    const std::string moved = "first line\n\n" + std::string(source);
    const Rendered ours = Render(moved, context_, local_time_s_);
    EXPECT_EQ(PlaceOf(ours.status).substr(0, 20), "chat template, line ") << source << ours.status.message();
    EXPECT_NE(PlaceOf(ours.status), "chat template, line 1") << source;
  }
}

}  // namespace
}  // namespace tessera

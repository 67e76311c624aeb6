// Published templates of many families, rendered by us and by transformers (tests/goldens/chat). The
// templates come from the folder that scripts/fetch-templates prints, named by TESSERA_CHAT_TEMPLATES, and
// from the model of TESSERA_MODEL_SMOLLM2; the test is skipped without them.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "core/env/file.h"
#include "core/model/gguf.h"
#include "core/text/chat/chat_template.h"
#include "core/text/tokenizer.h"
#include "tests/doubles/sha256.h"

namespace tessera {
namespace {

std::string Field(simdjson::dom::element object, const char* name) {
  simdjson::dom::element value;
  return object[name].get(value) == simdjson::SUCCESS ? simdjson::minify(value) : std::string();
}

std::string FileText(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::string TemplateOfModel(const char* path) {
  auto file = OpenFile(path);
  if (!file.ok()) return "";
  auto gguf = GgufFile::Read(std::shared_ptr<const RandomAccessFile>(*std::move(file)));
  if (!gguf.ok()) return "";
  auto text = (*gguf)->GetString("tokenizer.chat_template");
  return text.ok() ? std::string(*text) : "";
}

absl::StatusOr<RenderedChat> Render(const std::string& source, simdjson::dom::element conversation,
                                    int64_t local_time_s) {
  const std::string messages = Field(conversation, "messages"), tools = Field(conversation, "tools");
  std::string variables = Field(conversation, "variables");
  variables = R"({"bos_token": "<|bos|>", "eos_token": "<|eos|>")" +
              (variables.size() > 2 ? ", " + variables.substr(1) : "}");
  ChatRequest request;
  request.messages = messages;
  request.tools = tools;
  request.variables = variables;
  request.template_source = source;
  request.add_generation_prompt = Field(conversation, "add_generation_prompt") != "false";
  request.local_time_s = local_time_s;
  return ChatTemplates().Render(request);
}

class ChatGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("TESSERA_CHAT_TEMPLATES");
    const char* model = std::getenv("TESSERA_MODEL_SMOLLM2");
    if (folder == nullptr || model == nullptr) {
      GTEST_SKIP() << "set TESSERA_CHAT_TEMPLATES (scripts/fetch-templates) and TESSERA_MODEL_SMOLLM2";
    }
    folder_ = folder;
    model_ = model;
    ASSERT_EQ(parser_.load(TESSERA_GOLDENS "chat/families.json").get(document_), simdjson::SUCCESS);
    ASSERT_EQ(document_["local_time_s"].get(local_time_s_), simdjson::SUCCESS);
  }

  std::string folder_, model_;
  simdjson::dom::parser parser_;
  simdjson::dom::element document_;
  int64_t local_time_s_ = 0;
};

TEST_F(ChatGolden, EveryFamilysConversationsGiveTheTextThatTransformersGives) {
  simdjson::dom::object families;
  ASSERT_EQ(document_["families"].get(families), simdjson::SUCCESS);
  int texts = 0, refusals = 0;
  for (const auto& [family, results] : families) {
    const std::string name(family);
    const std::string source =
        name == "SmolLM2" ? TemplateOfModel(model_.c_str()) : FileText(folder_ + "/" + name);
    ASSERT_FALSE(source.empty()) << name;
    simdjson::dom::object by_title;
    ASSERT_EQ(results.get(by_title), simdjson::SUCCESS);
    for (const auto& [title, expected] : by_title) {
      const auto ours = Render(source, document_["conversations"][title].value(), local_time_s_);
      std::string_view hash;
      if (expected["sha256"].get(hash) != simdjson::SUCCESS) {
        ++refusals;
        EXPECT_FALSE(ours.ok()) << name << ", " << title << " gave:\n" << ours->text;
        continue;
      }
      ++texts;
      EXPECT_TRUE(ours.ok()) << name << ", " << title << ": " << ours.status().message();
      if (!ours.ok()) continue;
      EXPECT_EQ(ours->text.size(), static_cast<size_t>(expected["bytes"].get_int64().value())) << name;
      EXPECT_EQ(Sha256Hex(ours->text), hash) << name << ", " << title << " gave:\n" << ours->text;
    }
  }
  EXPECT_GT(texts, 200);
  EXPECT_GT(refusals, 50);
}

}  // namespace
}  // namespace tessera

// Prints docs/settings.md from the schema of settings.
#include <cstdio>
#include <string>

#include "capi/src/settings.h"

namespace {

using tessera::capi::AllSettings;
using tessera::capi::Setting;
using tessera::capi::SettingType;
using tessera::capi::TypeName;

struct Call {
  const char* prefix;
  const char* title;
};

constexpr Call kCalls[] = {
    {"runtime.", "tsr_runtime_create"},
    {"model.", "tsr_model_load_*"},
    {"device.", "tsr_model_load_*, where `model.device` is a GPU"},
    {"chat.", "tsr_model_apply_chat_template, tsr_session_append_chat"},
    {"engine.", "tsr_engine_create"},
    {"plan.", "tsr_plan_*, which takes those of tsr_model_load_* and tsr_engine_create too"},
    {"session.", "tsr_session_create, tsr_session_fork, tsr_session_restore"},
    {"state.", "tsr_session_save, tsr_session_restore"},
    {"queue.", "tsr_queue_create"},
    {"request.", "tsr_session_generate"},
    {"sampling.", "tsr_session_generate: how tokens are chosen"},
};

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text),
                value == static_cast<double>(static_cast<long long>(value)) ? "%.0f" : "%g", value);
  return text;
}

std::string Range(const Setting& setting) {
  switch (setting.type) {
    case SettingType::kInt:
    case SettingType::kFloat:
    case SettingType::kIntList:
    case SettingType::kFloatList:
      if (setting.most > 9e18) return setting.least < -9e18 ? "any" : Number(setting.least) + " and up";
      if (setting.most >= 2147483647 && setting.least > -1e18) return Number(setting.least) + " and up";
      if (setting.least < -1e18) return "up to " + Number(setting.most);
      return Number(setting.least) + " to " + Number(setting.most);
    case SettingType::kString: {
      std::string choices;
      for (const char* c = setting.choices; *c != '\0'; ++c)
        choices += *c == '|' ? std::string(", ") : std::string(1, *c);
      return choices;
    }
    case SettingType::kStringList:
      return Number(setting.least) + " to " + Number(setting.most) + " bytes each";
    case SettingType::kPointer:
      return setting.choices;
    case SettingType::kCallbacks:
      return std::string("`") + setting.choices + "`";
    case SettingType::kBool:
      return "";
  }
  return "";
}

}  // namespace

int main() {
  std::printf(
      "# Settings\n\nEvery key that a `tsr_options` takes, by the call that it is for. This page is made "
      "from the\n"
      "library's schema (`tessera_settings_page`); an unknown key, a wrong type or a value out of range is "
      "an error\n"
      "that names it. Keys are part of the ABI.\n");
  for (const Call& call : kCalls) {
    std::printf("\n## %s\n\n| key | type | range | default | |\n|---|---|---|---|---|\n", call.title);
    for (const Setting& setting : AllSettings()) {
      const std::string key = setting.key;
      if (key.rfind(call.prefix, 0) != 0) continue;
      std::string help = setting.help;
      for (size_t at; (at = help.find("#TSR")) != std::string::npos;) help.erase(at, 1);
      std::printf("| `%s` | %s | %s | %s | %s |\n", setting.key, TypeName(setting.type),
                  Range(setting).c_str(), setting.default_text, help.c_str());
    }
  }
  return 0;
}

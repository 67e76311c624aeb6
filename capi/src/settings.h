// The schema of all settings: one table, from which options are checked and docs/settings.md is made.
#ifndef TESSERA_CAPI_SRC_SETTINGS_H_
#define TESSERA_CAPI_SRC_SETTINGS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "capi/src/callbacks.h"

namespace tessera::capi {

enum class SettingType : int32_t {
  kInt,
  kFloat,
  kBool,
  kString,
  kIntList,
  kFloatList,
  kStringList,
  kCallbacks,
  kPointer
};

struct Setting {
  const char* key;
  SettingType type;
  const char* default_text;  // as the reference page shows it
  double least;              // numbers and elements of lists: inclusive range
  double most;
  // Strings: the allowed ones, joined by '|', where a word in capitals at the end stands for what may be
  // there
  // (':N' digits, '-UUID' hexadecimal digits and dashes); empty: any. Callbacks: the table's type. Pointers:
  // what they point to.
  const char* choices;
  size_t table_bytes;  // callbacks: least struct_size
  const char* help;
};

absl::Span<const Setting> AllSettings();
// kInvalidArgument, with the nearest known key, when there is none.
absl::StatusOr<const Setting*> FindSetting(absl::string_view key);
const char* TypeName(SettingType type);

using SettingValue =
    std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                 std::vector<std::string>, std::shared_ptr<const CallbackTable>, void*>;

// The values of a tsr_options, checked one by one as they were set.
class Settings {
 public:
  absl::Status Set(absl::string_view key, SettingType type, SettingValue value);

  // kInvalidArgument naming the first key that begins with none of the prefixes: it belongs to another call.
  absl::Status CheckScope(absl::Span<const absl::string_view> prefixes, absl::string_view call) const;

  int64_t Int(absl::string_view key, int64_t otherwise) const;
  double Float(absl::string_view key, double otherwise) const;
  bool Bool(absl::string_view key, bool otherwise) const;
  absl::string_view String(absl::string_view key, absl::string_view otherwise) const;
  const std::vector<int64_t>* IntList(absl::string_view key) const;             // null: not set
  const std::vector<double>* FloatList(absl::string_view key) const;            // null: not set
  const std::vector<std::string>* StringList(absl::string_view key) const;      // null: not set
  std::shared_ptr<const CallbackTable> Callbacks(absl::string_view key) const;  // null: not set
  void* Pointer(absl::string_view key) const;                                   // null: not set

 private:
  const SettingValue* Find(absl::string_view key) const;
  std::vector<std::pair<const Setting*, SettingValue>> values_;
};

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_SETTINGS_H_

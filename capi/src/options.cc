// tsr_options.
#include <memory>
#include <utility>

#include "capi/src/guard.h"
#include "capi/src/handles.h"
#include "core/text/utf8.h"

namespace tessera::capi {
namespace {

absl::Status SetValue(tsr_options* options, const char* key, size_t key_size, SettingType type,
                      SettingValue value) {
  TSR_RETURN_IF_ERROR(CheckPointer(options, "options"));
  TSR_RETURN_IF_ERROR(CheckRange(key, key_size, "key"));
  if (key_size == 0) return InvalidArgument("key", "it is empty");
  return options->settings.Set(View(key, key_size), type, std::move(value));
}

absl::Status CheckText(absl::string_view text, absl::string_view place) {
  const size_t bad = FirstInvalidUtf8(text);
  if (bad == text.size()) return absl::OkStatus();
  return InvalidUtf8(place, absl::StrCat("the byte at ", bad, " begins no valid UTF-8 sequence"));
}

absl::Status SetCallbacks(tsr_options* options, const char* key, size_t key_size, const void* table) {
  DropGuard guard(table);
  TSR_RETURN_IF_ERROR(CheckPointer(options, "options"));
  TSR_RETURN_IF_ERROR(CheckRange(key, key_size, "key"));
  TSR_RETURN_IF_ERROR(CheckPointer(table, "table"));
  TSR_ASSIGN_OR_RETURN(const Setting* setting, FindSetting(View(key, key_size)));
  if (setting->type != SettingType::kCallbacks) {
    return InvalidArgument(
        absl::StrCat("setting '", setting->key, "'"),
        absl::StrCat("it is a setting of type ", TypeName(setting->type), ", not callbacks"));
  }
  CallbackHead head;
  std::memcpy(&head, table, sizeof(head));
  if (head.struct_size < setting->table_bytes) {
    return InvalidArgument(absl::StrCat("setting '", setting->key, "'"),
                           absl::StrCat("struct_size is ", head.struct_size, "; a ", setting->choices,
                                        " has ", setting->table_bytes, " bytes"));
  }
  auto copy = std::make_shared<const CallbackTable>(table);
  guard.Disarm();
  return options->settings.Set(setting->key, SettingType::kCallbacks, std::move(copy));
}

}  // namespace

absl::StatusOr<const Settings*> ScopedSettings(const tsr_options* options,
                                               absl::Span<const absl::string_view> prefixes,
                                               absl::string_view call) {
  if (options == nullptr) return static_cast<const Settings*>(nullptr);
  TSR_RETURN_IF_ERROR(options->settings.CheckScope(prefixes, call));
  return &options->settings;
}

}  // namespace tessera::capi

using namespace tessera::capi;  // NOLINT(google-build-using-namespace): a file of C entry points
using tessera::capi::Guard;

tsr_status tsr_options_create(tsr_options** options, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckPointer(options, "options"));
    *options = new tsr_options;
    return absl::OkStatus();
  });
}

void tsr_options_release(tsr_options* options) {
  if (!Forked()) delete options;
}

tsr_status tsr_options_set_int(tsr_options* options, const char* key, size_t key_size, int64_t value,
                               tsr_error** error) {
  return Guard(error, [&] { return SetValue(options, key, key_size, SettingType::kInt, value); });
}

tsr_status tsr_options_set_float(tsr_options* options, const char* key, size_t key_size, double value,
                                 tsr_error** error) {
  return Guard(error, [&] { return SetValue(options, key, key_size, SettingType::kFloat, value); });
}

tsr_status tsr_options_set_bool(tsr_options* options, const char* key, size_t key_size, int32_t value,
                                tsr_error** error) {
  return Guard(error, [&] { return SetValue(options, key, key_size, SettingType::kBool, value != 0); });
}

tsr_status tsr_options_set_string(tsr_options* options, const char* key, size_t key_size, const char* value,
                                  size_t value_size, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(value, value_size, "value"));
    TSR_RETURN_IF_ERROR(CheckText(View(value, value_size), "value"));
    return SetValue(options, key, key_size, SettingType::kString, std::string(View(value, value_size)));
  });
}

tsr_status tsr_options_set_int_list(tsr_options* options, const char* key, size_t key_size,
                                    const int64_t* values, size_t count, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(values, count, "values"));
    std::vector<int64_t> list(values, values + count);
    return SetValue(options, key, key_size, SettingType::kIntList, std::move(list));
  });
}

tsr_status tsr_options_set_float_list(tsr_options* options, const char* key, size_t key_size,
                                      const double* values, size_t count, tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(values, count, "values"));
    std::vector<double> list(values, values + count);
    return SetValue(options, key, key_size, SettingType::kFloatList, std::move(list));
  });
}

tsr_status tsr_options_set_string_list(tsr_options* options, const char* key, size_t key_size,
                                       const char* const* values, const size_t* value_sizes, size_t count,
                                       tsr_error** error) {
  return Guard(error, [&]() -> absl::Status {
    TSR_RETURN_IF_ERROR(CheckRange(values, count, "values"));
    TSR_RETURN_IF_ERROR(CheckRange(value_sizes, count, "value_sizes"));
    std::vector<std::string> list;
    for (size_t i = 0; i < count; ++i) {
      const std::string place = absl::StrCat("values[", i, "]");
      TSR_RETURN_IF_ERROR(CheckRange(values[i], value_sizes[i], place));
      TSR_RETURN_IF_ERROR(CheckText(View(values[i], value_sizes[i]), place));
      list.emplace_back(View(values[i], value_sizes[i]));
    }
    return SetValue(options, key, key_size, SettingType::kStringList, std::move(list));
  });
}

tsr_status tsr_options_set_pointer(tsr_options* options, const char* key, size_t key_size, void* value,
                                   tsr_error** error) {
  return Guard(error, [&] { return SetValue(options, key, key_size, SettingType::kPointer, value); });
}

tsr_status tsr_options_set_callbacks(tsr_options* options, const char* key, size_t key_size,
                                     const void* table, tsr_error** error) {
  return Guard(error, [&] { return SetCallbacks(options, key, key_size, table); });
}

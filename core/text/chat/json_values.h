// JSON from the host as values for a template. Every text is marked as the host's; keys keep their order, and
// of equal keys the last counts, as in Python.
#ifndef TESSERA_CORE_TEXT_CHAT_JSON_VALUES_H_
#define TESSERA_CORE_TEXT_CHAT_JSON_VALUES_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/text/jinja/run.h"
#include "core/text/jinja/value.h"

namespace tessera {

inline constexpr size_t kDeepestJson = 64;

// The values live in the run's arena. `place` names the text in errors: "messages". kInvalidArgument for what
// is no JSON, or nested deeper than kDeepestJson, or holds an integer beyond 64 bits; kLimitExceeded where it
// takes more memory than the run may use.
absl::StatusOr<jinja::Value> JsonToValue(jinja::Run& run, absl::string_view json, absl::string_view place);

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_CHAT_JSON_VALUES_H_

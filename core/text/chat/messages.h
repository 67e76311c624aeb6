// What is done to messages before a template sees them, as transformers does it: fields that are null are
// left out, since few templates expect them, and a message's reasoning goes by all the names that templates
// look for.
#ifndef TESSERA_CORE_TEXT_CHAT_MESSAGES_H_
#define TESSERA_CORE_TEXT_CHAT_MESSAGES_H_

#include "absl/status/statusor.h"
#include "core/text/jinja/run.h"
#include "core/text/jinja/value.h"

namespace tessera {

// kInvalidArgument when they are no list of objects.
absl::StatusOr<jinja::Value> NormaliseMessages(jinja::Run& run, const jinja::Value& messages);

}  // namespace tessera

#endif  // TESSERA_CORE_TEXT_CHAT_MESSAGES_H_

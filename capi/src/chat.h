// What the two calls that take a conversation share.
#ifndef TESSERA_CAPI_SRC_CHAT_H_
#define TESSERA_CAPI_SRC_CHAT_H_

#include <vector>

#include "capi/src/handles.h"
#include "core/text/chat/chat_template.h"

namespace tessera::capi {

// Views into `messages` and `options`.
absl::StatusOr<ChatRequest> ChatRequestOf(const char* messages, size_t messages_size,
                                          const tsr_options* options, absl::string_view call);

// The conversation's tokens. `parse_special`: also those that stand in messages. `follows`: they come behind
// others, so that a begin-of-text token of the template's is left out.
absl::Status TokenizeChat(const LoadedModel& model, const ChatRequest& request, bool parse_special,
                          bool follows, std::vector<int32_t>* tokens);

}  // namespace tessera::capi

#endif  // TESSERA_CAPI_SRC_CHAT_H_

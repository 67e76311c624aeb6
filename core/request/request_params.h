// What a request asks for. Plain data; checked before a request is accepted, immutable afterwards.
#ifndef TESSERA_CORE_REQUEST_REQUEST_PARAMS_H_
#define TESSERA_CORE_REQUEST_REQUEST_PARAMS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/request/sampling_params.h"

namespace tessera {

inline constexpr size_t kMostStopStrings = 64;
inline constexpr size_t kLongestStopBytes = 1024;

struct RequestParams {
  SamplingParams sampling;
  int64_t max_tokens = 256;          // 0: compute the prompt only; -1: until the context is full
  int64_t deadline_ns = 0;           // from submission; 0: none
  int32_t priority = 0;              // higher goes first; see Scheduler
  std::vector<std::string> stop;     // at most kMostStopStrings, 1 to kLongestStopBytes bytes each
  std::vector<int32_t> stop_tokens;  // beside the model's own end tokens
  bool ignore_end = false;           // go on after end tokens
};

// The values are those of TSR_FINISH_* in the public header (capi checks that).
enum class FinishReason : int32_t {
  kEnd = 1,
  kStop = 2,
  kLength = 3,
  kContext = 4,
  kCancelled = 5,
  kDeadline = 6,
  kError = 7,
  kClosed = 8,
};

enum class CancelEffect : int32_t { kKeep = 0, kDrop = 1 };

}  // namespace tessera

#endif  // TESSERA_CORE_REQUEST_REQUEST_PARAMS_H_

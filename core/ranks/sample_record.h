// What a step's samples have become, as the last stage tells the leader.
#ifndef TESSERA_CORE_RANKS_SAMPLE_RECORD_H_
#define TESSERA_CORE_RANKS_SAMPLE_RECORD_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/execute/backend.h"

namespace tessera {

// Most bytes of a step's results, all samples with their logits; vocabulary 0: without any.
size_t MostSampleRecordBytes(int32_t samples, int32_t vocabulary);
// Replaces `record` by the results of the step's samples, the logits that are wanted included. May throw
// std::bad_alloc.
void WriteSampleRecord(const StepView& step, int32_t vocabulary, std::vector<uint8_t>* record);
// Into the samples of the same step. kCorrupt when the bytes are not the results of one like it.
absl::Status ReadSampleRecord(absl::Span<const uint8_t> record, const StepView& step, int32_t vocabulary);

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_SAMPLE_RECORD_H_

// A step as the leader tells it to other ranks: a flat, versioned, position-independent record of all that a
// StepView says, but for the caches, which each rank has its own memory for. Whoever has the bytes carries
// the step out without deciding anything.
#ifndef TESSERA_CORE_RANKS_STEP_RECORD_H_
#define TESSERA_CORE_RANKS_STEP_RECORD_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/execute/backend.h"

namespace tessera {

inline constexpr uint32_t kStepRecordMagic = 0x52525354;  // "TSRR"
inline constexpr uint32_t kStepRecordVersion = 1;

// Comes before each record, so that the receiver has room for it.
struct RecordHead {
  uint32_t magic = kStepRecordMagic;
  uint32_t version = kStepRecordVersion;
  uint32_t kind = 0;        // RecordKind
  uint32_t size_bytes = 0;  // of the record that follows; 0: none does
};
enum class RecordKind : uint32_t { kStep = 1, kClose = 2 };

// Replaces `record` by the step's bytes; it grows where it must. May throw std::bad_alloc. `groups`: of the
// cache.
void WriteStepRecord(const StepView& step, int32_t groups, int32_t block_tokens,
                     std::vector<uint8_t>* record);

// What a rank may be asked to do: a record that asks for more was not meant for it.
struct RecordLimits {
  int32_t rows = 0, sequences = 0, samples = 0, groups = 0, positions = 0;
  int32_t vocabulary = 0;
  int32_t block_tokens = 0;
  int64_t blocks = 0;
};

// Bytes of the longest record of a usual step: one whose samples look back no further than the default
// penalty window and have no biases. Longer ones need memory when they come.
size_t MostStepRecordBytes(const RecordLimits& limits);

// A step read from a record, with memory of its own.
class ReceivedStep {
 public:
  // `caches` [limits.groups] outlive the step.
  ReceivedStep(const RecordLimits& limits, const CacheView* caches);

  // kCorrupt, naming the field, for bytes that are no step within the limits. May throw std::bad_alloc. What
  // was read before is gone.
  absl::Status Read(absl::Span<const uint8_t> record);
  const StepView& view() const { return view_; }
  StepView& view() { return view_; }

 private:
  struct Sequence;
  absl::Status ReadSequences(class RecordReader& reader, int32_t count);
  absl::Status ReadSamples(class RecordReader& reader, int32_t count);

  const RecordLimits limits_;
  StepView view_;
  std::vector<int32_t> tokens_, positions_, sources_;  // [rows]
  std::vector<SequenceView> sequences_;
  std::vector<const int32_t*> block_lists_;  // [sequence][group]
  std::vector<int32_t> blocks_;              // all lists, one after the other
  std::vector<BlockCopy> copies_;
  std::vector<SampleRow> samples_;
  std::vector<SamplingParams> params_;  // [samples]
  std::vector<int32_t> history_;        // of all samples
  std::vector<float> logits_;           // [samples that want them][vocabulary]
};

}  // namespace tessera

#endif  // TESSERA_CORE_RANKS_STEP_RECORD_H_

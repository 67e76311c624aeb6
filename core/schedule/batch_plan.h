// What one batch computes, as a flat, versioned, position-independent record: the leader writes it, and
// whoever has the bytes (this process, later another rank) can carry it out without deciding anything.
#ifndef TESSERA_CORE_SCHEDULE_BATCH_PLAN_H_
#define TESSERA_CORE_SCHEDULE_BATCH_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tessera {

inline constexpr uint32_t kPlanMagic = 0x50525354;  // "TSRP"
inline constexpr uint32_t kPlanVersion = 1;

// An input that is a slot, not a value: the last token of the row's sequence, which may only exist on the
// device.
inline constexpr int32_t kLastToken = -1;

struct PlanHeader {
  uint32_t magic = kPlanMagic;
  uint32_t version = kPlanVersion;
  uint64_t step = 0;            // the batch's number
  uint32_t size_bytes = 0;      // of the whole record
  uint32_t sequence_count = 0;  // PlanSequence[sequence_count] follow the header
  uint32_t row_count = 0;       // int32_t tokens[row_count] follow those
  uint32_t reserved = 0;
};

struct PlanSequence {
  uint64_t session = 0;
  int32_t first_row = 0;
  int32_t row_count = 0;
  int32_t first_position = 0;
  int32_t sample = 0;  // 1: a token is wanted after the last row
};

// Builds a record in memory that was allocated once.
class BatchPlan {
 public:
  BatchPlan(int32_t max_rows, int32_t max_sequences);

  void Begin(uint64_t step) noexcept;
  bool HasRoom(int32_t rows) const noexcept;
  // `tokens` [row_count]: ids, or kLastToken.
  void Add(uint64_t session, int32_t first_position, absl::Span<const int32_t> tokens, bool sample) noexcept;
  void End() noexcept;  // the record is whole

  bool empty() const { return header()->sequence_count == 0; }
  int32_t row_count() const { return static_cast<int32_t>(header()->row_count); }
  int32_t rows_left() const { return max_rows_ - row_count(); }
  absl::Span<const PlanSequence> sequences() const {
    return {reinterpret_cast<const PlanSequence*>(record_.data() + sizeof(PlanHeader)),
            header()->sequence_count};
  }
  absl::Span<const int32_t> tokens() const { return {tokens_.data(), header()->row_count}; }
  absl::Span<const uint8_t> record() const { return {record_.data(), header()->size_bytes}; }

 private:
  PlanHeader* header() { return reinterpret_cast<PlanHeader*>(record_.data()); }
  const PlanHeader* header() const { return reinterpret_cast<const PlanHeader*>(record_.data()); }

  int32_t max_rows_;
  int32_t max_sequences_;
  std::vector<uint8_t> record_;
  std::vector<int32_t> tokens_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_SCHEDULE_BATCH_PLAN_H_

#include "core/schedule/batch_plan.h"

#include <cstring>

namespace tessera {

BatchPlan::BatchPlan(int32_t max_rows, int32_t max_sequences)
    : max_rows_(max_rows),
      max_sequences_(max_sequences),
      record_(sizeof(PlanHeader) + sizeof(PlanSequence) * static_cast<size_t>(max_sequences) +
              sizeof(int32_t) * static_cast<size_t>(max_rows)),
      tokens_(static_cast<size_t>(max_rows)) {
  Begin(0);
}

void BatchPlan::Begin(uint64_t step) noexcept {
  *header() = PlanHeader{};
  header()->step = step;
}

bool BatchPlan::HasRoom(int32_t rows) const noexcept {
  return rows <= rows_left() && header()->sequence_count < static_cast<uint32_t>(max_sequences_);
}

void BatchPlan::Add(uint64_t session, int32_t first_position, absl::Span<const int32_t> tokens,
                    bool sample) noexcept {
  PlanSequence sequence;
  sequence.session = session;
  sequence.first_row = row_count();
  sequence.row_count = static_cast<int32_t>(tokens.size());
  sequence.first_position = first_position;
  sequence.sample = sample ? 1 : 0;
  std::memcpy(record_.data() + sizeof(PlanHeader) + header()->sequence_count * sizeof(PlanSequence),
              &sequence, sizeof(sequence));
  std::memcpy(tokens_.data() + sequence.first_row, tokens.data(), tokens.size() * sizeof(int32_t));
  header()->sequence_count += 1;
  header()->row_count += static_cast<uint32_t>(tokens.size());
}

void BatchPlan::End() noexcept {
  const size_t at = sizeof(PlanHeader) + header()->sequence_count * sizeof(PlanSequence);
  std::memcpy(record_.data() + at, tokens_.data(), header()->row_count * sizeof(int32_t));
  header()->size_bytes = static_cast<uint32_t>(at + header()->row_count * sizeof(int32_t));
}

}  // namespace tessera

#include "core/engine/batch.h"

#include <algorithm>
#include <utility>

#include "core/sample/sampler.h"

namespace tessera {
namespace {

// The window of past tokens that penalties look at.
void CopyHistory(const Session& session, Request& request) noexcept {
  if (request.history.capacity() == 0) return;
  const size_t count = std::min(session.tokens.size(), request.history.capacity());
  request.history.assign(session.tokens.end() - static_cast<std::ptrdiff_t>(count), session.tokens.end());
}

}  // namespace

Batch::Batch(int32_t max_rows, int32_t max_sequences, int32_t cache_groups)
    : cache_groups_(cache_groups), plan_(max_rows, max_sequences) {
  const size_t sequences = static_cast<size_t>(max_sequences);
  planned_.reserve(sequences);
  entries_.reserve(sequences);
  tokens_.reserve(static_cast<size_t>(max_rows));
  positions_.reserve(static_cast<size_t>(max_rows));
  sources_.reserve(static_cast<size_t>(max_rows));
  sequences_.reserve(sequences);
  block_lists_.reserve(sequences * static_cast<size_t>(cache_groups));
  samples_.reserve(sequences);
  copies_.reserve(sequences * static_cast<size_t>(cache_groups));
}

void Batch::Begin(uint64_t step) noexcept {
  Clear();
  plan_.Begin(step);
  planned_.clear();
}

void Batch::Enter(size_t index, std::shared_ptr<Session> session) noexcept {
  const PlanSequence& planned = plan_.sequences()[index];
  Entry entry;
  entry.row_count = planned.row_count;
  entry.request = session->request;

  SequenceView sequence;
  sequence.first_row = static_cast<int32_t>(tokens_.size());
  sequence.row_count = planned.row_count;
  sequence.first_position = planned.first_position;
  sequence.blocks = block_lists_.data() + block_lists_.size();
  for (int32_t group = 0; group < cache_groups_; ++group) {
    block_lists_.push_back(session->blocks[static_cast<size_t>(group)].data());
  }
  for (int32_t i = 0; i < planned.row_count; ++i) {
    const int32_t token = plan_.tokens()[static_cast<size_t>(planned.first_row) + static_cast<size_t>(i)];
    const bool sampled_ahead = token == kLastToken && session->samples_ahead > 0;
    tokens_.push_back(sampled_ahead ? kSampledToken : token == kLastToken ? session->tokens.back() : token);
    positions_.push_back(planned.first_position + i);
    sources_.push_back(sampled_ahead ? session->last_sample : -1);
  }
  sequences_.push_back(sequence);

  if (planned.sample != 0) {
    CopyHistory(*session, *entry.request);
    SampleRow sample;
    sample.row = sequence.first_row + planned.row_count - 1;
    sample.params = &entry.request->params.sampling;
    sample.position =
        static_cast<uint64_t>(planned.first_position) + static_cast<uint64_t>(planned.row_count);
    sample.history = entry.request->history.data();
    sample.history_count = static_cast<int32_t>(entry.request->history.size());
    sample.logits_out = session->logits.empty() ? nullptr : session->logits.data();
    sample.gather_logits = WantsAllLogits(sample);
    samples_.push_back(sample);
    entry.sample = &samples_.back();
    ++session->samples_ahead;
    session->last_sample = static_cast<int32_t>(samples_.size()) - 1;
  }
  ++session->in_flight;
  session->ahead += static_cast<size_t>(planned.row_count);
  ++entry.request->in_batches;
  entry.session = std::move(session);
  entries_.push_back(std::move(entry));
}

void Batch::Leave(const Entry& entry) noexcept {
  Session& session = *entry.session;
  --session.in_flight;
  session.ahead -= static_cast<size_t>(entry.row_count);
  if (entry.sample != nullptr) --session.samples_ahead;
  --entry.request->in_batches;
}

void Batch::Seal(const KvCache& cache) noexcept {
  view_.row_count = static_cast<int32_t>(tokens_.size());
  view_.tokens = tokens_.data();
  view_.positions = positions_.data();
  view_.sources = sources_.data();
  view_.sequence_count = static_cast<int32_t>(sequences_.size());
  view_.sequences = sequences_.data();
  view_.caches = cache.views();
  view_.sample_count = static_cast<int32_t>(samples_.size());
  view_.samples = samples_.data();
  view_.copies = copies_.data();
  view_.copy_count = static_cast<int32_t>(copies_.size());
  live.store(static_cast<int32_t>(entries_.size()), std::memory_order_relaxed);
}

void Batch::Clear() noexcept {
  entries_.clear();
  tokens_.clear();
  positions_.clear();
  sources_.clear();
  sequences_.clear();
  block_lists_.clear();
  samples_.clear();
  copies_.clear();
}

}  // namespace tessera

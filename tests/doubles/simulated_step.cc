#include "tests/doubles/simulated_step.h"

#include <algorithm>
#include <cstring>

namespace tessera {

std::unique_ptr<SimulatedStep> SimulatedStep::Take(const std::vector<CacheView>& caches, int32_t block_tokens,
                                                   const tsr_device_step& step) {
  auto job = std::make_unique<SimulatedStep>();
  job->tokens.assign(step.tokens, step.tokens + step.row_count);
  job->positions.assign(step.positions, step.positions + step.row_count);
  job->sources.assign(step.sources, step.sources + step.row_count);
  const size_t groups = caches.size();
  job->blocks.resize(static_cast<size_t>(step.sequence_count) * groups);
  for (int32_t i = 0; i < step.sequence_count; ++i) {
    const tsr_device_sequence& from = step.sequences[i];
    job->sequences.push_back({from.first_row, from.row_count, from.first_position, nullptr});
    const int32_t size = block_tokens;
    const int32_t count = (from.first_position + from.row_count + size - 1) / size;
    for (size_t group = 0; group < groups; ++group) {
      std::vector<int32_t>& list = job->blocks[static_cast<size_t>(i) * groups + group];
      list.assign(from.blocks[group], from.blocks[group] + count);
      job->block_lists.push_back(list.data());
    }
  }
  for (size_t i = 0; i < job->sequences.size(); ++i) {
    job->sequences[i].blocks = job->block_lists.data() + i * groups;
  }
  for (int32_t i = 0; i < step.copy_count; ++i) {
    job->copies.push_back({step.copies[i].group, step.copies[i].from, step.copies[i].to});
  }
  job->TakeSamples(step);
  job->view.row_count = step.row_count;
  job->view.tokens = job->tokens.data();
  job->view.positions = job->positions.data();
  job->view.sequence_count = step.sequence_count;
  job->view.sequences = job->sequences.data();
  job->view.caches = caches.data();
  job->view.copies = job->copies.data();
  job->view.copy_count = step.copy_count;
  job->view.sample_count = step.sample_count;
  job->view.samples = job->samples.data();
  return job;
}

void SimulatedStep::TakeSamples(const tsr_device_step& step) {
  results = step.samples;
  params.resize(static_cast<size_t>(step.sample_count));
  histories.resize(params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    const tsr_device_sample& from = step.samples[i];
    SamplingParams& chosen = params[i];
    chosen.temperature = from.temperature;
    chosen.top_k = from.top_k;
    chosen.top_p = from.top_p;
    chosen.min_p = from.min_p;
    chosen.repetition_penalty = from.repetition_penalty;
    chosen.frequency_penalty = from.frequency_penalty;
    chosen.presence_penalty = from.presence_penalty;
    chosen.penalty_window_tokens = from.penalty_window_tokens;
    chosen.seed = from.seed;
    chosen.top_logprobs = from.top_logprobs;
    for (int32_t j = 0; j < from.bias_count; ++j) {
      chosen.logit_bias.emplace_back(from.bias[j].token, from.bias[j].bias);
    }
    histories[i].assign(from.history, from.history + from.history_count);
    SampleRow row;
    row.row = from.row;
    row.params = &chosen;
    row.position = from.position;
    row.history = histories[i].data();
    row.history_count = from.history_count;
    row.logits_out = from.logits_out;
    samples.push_back(row);
  }
}

void SimulatedStep::GiveResults() const {
  for (size_t i = 0; i < samples.size(); ++i) {
    const SampleRow& from = samples[i];
    tsr_device_sample& to = results[i];
    to.token = from.token;
    to.numeric_fault = from.numeric_fault ? 1 : 0;
    to.logprob = from.logprob;
    to.top_count = from.top_count;
    std::copy_n(from.top_tokens, from.top_count, to.top_tokens);
    std::copy_n(from.top_logprobs, from.top_count, to.top_token_logprobs);
  }
}

void SimulatedStep::Spoil(const std::vector<CacheView>& caches) const {
  for (const SequenceView& sequence : sequences) {
    for (int32_t i = 0; i < sequence.row_count; ++i) {
      const int32_t position = sequence.first_position + i;
      for (size_t group = 0; group < caches.size(); ++group) {
        const CacheView& cache = caches[group];
        const int32_t block = sequence.blocks[group][position / cache.block_tokens];
        for (int32_t layer = 0; layer < cache.layer_count; ++layer) {
          const size_t at = static_cast<size_t>(position % cache.block_tokens) * cache.row_bytes();
          std::memset(cache.keys(block, layer) + at, 0x5a, cache.row_bytes());
          std::memset(cache.values(block, layer) + at, 0x5a, cache.row_bytes());
        }
      }
    }
  }
}

}  // namespace tessera

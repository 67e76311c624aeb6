#include "core/ranks/step_record.h"

#include <algorithm>

#include "core/base/checked.h"
#include "core/base/status.h"
#include "core/ranks/record_io.h"

namespace tessera {
namespace {

struct StepHeader {
  int32_t rows = 0, sequences = 0, copies = 0, samples = 0, groups = 0;
  int32_t wanted_logits = 0;  // samples that want a copy of theirs
  int64_t block_count = 0;    // of all lists together
  int64_t history_count = 0;  // of all samples together
};

struct SequenceRecord {
  int32_t first_row = 0, row_count = 0, first_position = 0;
};

// SamplingParams but for the list, and what the row wants.
struct SampleRecord {
  int32_t row = 0, history_count = 0, wants_logits = 0, bias_count = 0;
  uint64_t position = 0, seed = 0;
  float temperature = 0, top_p = 1, min_p = 0;
  float repetition_penalty = 1, frequency_penalty = 0, presence_penalty = 0;
  int32_t top_k = 0, penalty_window_tokens = 0, top_logprobs = -1, gather_logits = 1;
};

struct BiasRecord {
  int32_t token = 0;
  float value = 0;
};

// Past tokens that a sample looks back to, by default.
constexpr size_t kUsualHistory = 64;

int64_t BlocksOf(int32_t first_position, int32_t row_count, int32_t block_tokens) {
  const int64_t end = static_cast<int64_t>(first_position) + row_count;
  return (end + block_tokens - 1) / block_tokens;
}

SampleRecord RecordOf(const SampleRow& sample) {
  const SamplingParams& params = *sample.params;
  SampleRecord record;
  record.row = sample.row;
  record.history_count = sample.history_count;
  record.wants_logits = sample.logits_out != nullptr ? 1 : 0;
  record.bias_count = static_cast<int32_t>(params.logit_bias.size());
  record.position = sample.position;
  record.seed = params.seed;
  record.temperature = params.temperature;
  record.top_p = params.top_p;
  record.min_p = params.min_p;
  record.repetition_penalty = params.repetition_penalty;
  record.frequency_penalty = params.frequency_penalty;
  record.presence_penalty = params.presence_penalty;
  record.top_k = params.top_k;
  record.penalty_window_tokens = params.penalty_window_tokens;
  record.top_logprobs = params.top_logprobs;
  record.gather_logits = sample.gather_logits ? 1 : 0;
  return record;
}

void ToParams(const SampleRecord& record, SamplingParams* params) {
  params->seed = record.seed;
  params->temperature = record.temperature;
  params->top_p = record.top_p;
  params->min_p = record.min_p;
  params->repetition_penalty = record.repetition_penalty;
  params->frequency_penalty = record.frequency_penalty;
  params->presence_penalty = record.presence_penalty;
  params->top_k = record.top_k;
  params->penalty_window_tokens = record.penalty_window_tokens;
  params->top_logprobs = record.top_logprobs;
}

absl::Status Wrong(absl::string_view field) {
  return Corrupt("step record", absl::StrCat("its ", field, " is outside what this rank was made for"));
}

bool Within(int64_t value, int64_t least, int64_t most) { return value >= least && value <= most; }

}  // namespace

size_t MostStepRecordBytes(const RecordLimits& limits) {
  const auto groups = static_cast<size_t>(limits.groups);
  const auto lists = static_cast<size_t>(limits.sequences) * groups;
  const auto blocks = static_cast<size_t>(BlocksOf(0, limits.positions, limits.block_tokens));
  return sizeof(StepHeader) + static_cast<size_t>(limits.rows) * sizeof(int32_t) +
         static_cast<size_t>(limits.sequences) * sizeof(SequenceRecord) + lists * blocks * sizeof(int32_t) +
         lists * sizeof(BlockCopy) +
         static_cast<size_t>(limits.samples) * (sizeof(SampleRecord) + kUsualHistory * sizeof(int32_t));
}

void WriteStepRecord(const StepView& step, int32_t groups, int32_t block_tokens,
                     std::vector<uint8_t>* record) {
  StepHeader header;
  header.rows = step.row_count;
  header.sequences = step.sequence_count;
  header.copies = step.copy_count;
  header.samples = step.sample_count;
  header.groups = groups;
  for (int32_t i = 0; i < step.sequence_count; ++i) {
    const SequenceView& sequence = step.sequences[i];
    header.block_count += groups * BlocksOf(sequence.first_position, sequence.row_count, block_tokens);
  }
  for (int32_t i = 0; i < step.sample_count; ++i) {
    header.history_count += step.samples[i].history_count;
    header.wanted_logits += step.samples[i].logits_out != nullptr ? 1 : 0;
  }
  RecordWriter writer(record);
  writer.Put(header);
  writer.PutArray(step.tokens, static_cast<size_t>(step.row_count));
  for (int32_t i = 0; i < step.sequence_count; ++i) {
    const SequenceView& sequence = step.sequences[i];
    writer.Put(SequenceRecord{sequence.first_row, sequence.row_count, sequence.first_position});
    const auto blocks =
        static_cast<size_t>(BlocksOf(sequence.first_position, sequence.row_count, block_tokens));
    for (int32_t group = 0; group < groups; ++group) writer.PutArray(sequence.blocks[group], blocks);
  }
  writer.PutArray(step.copies, static_cast<size_t>(step.copy_count));
  for (int32_t i = 0; i < step.sample_count; ++i) {
    const SampleRow& sample = step.samples[i];
    writer.Put(RecordOf(sample));
    writer.PutArray(sample.history, static_cast<size_t>(sample.history_count));
    for (const auto& [token, value] : sample.params->logit_bias) writer.Put(BiasRecord{token, value});
  }
}

ReceivedStep::ReceivedStep(const RecordLimits& limits, const CacheView* caches) : limits_(limits) {
  view_.caches = caches;
  const auto rows = static_cast<size_t>(limits.rows);
  const auto sequences = static_cast<size_t>(limits.sequences);
  tokens_.reserve(rows);
  positions_.reserve(rows);
  sources_.assign(rows, -1);
  sequences_.reserve(sequences);
  block_lists_.reserve(sequences * static_cast<size_t>(limits.groups));
  samples_.reserve(static_cast<size_t>(limits.samples));
  const size_t lists = sequences * static_cast<size_t>(limits.groups);
  blocks_.reserve(lists * static_cast<size_t>(BlocksOf(0, limits.positions, limits.block_tokens)));
  copies_.reserve(lists);
  history_.reserve(static_cast<size_t>(limits.samples) * kUsualHistory);
  params_.resize(static_cast<size_t>(limits.samples));
}

absl::Status ReceivedStep::Read(absl::Span<const uint8_t> record) {
  RecordReader reader(record);
  StepHeader header;
  if (!reader.Get(&header)) return Wrong("size");
  if (!Within(header.rows, 1, limits_.rows)) return Wrong("number of rows");
  if (!Within(header.sequences, 1, std::min(header.rows, limits_.sequences)))
    return Wrong("number of sequences");
  if (!Within(header.samples, 0, std::min(header.rows, limits_.samples))) return Wrong("number of samples");
  if (header.groups != limits_.groups) return Wrong("number of cache groups");
  if (!Within(header.wanted_logits, 0, header.samples)) return Wrong("number of logits wanted");
  // Counts that memory is made for are bounded by the record's own bytes.
  const auto most = static_cast<int64_t>(record.size() / sizeof(int32_t));
  if (!Within(header.copies, 0, most / 3) || !Within(header.block_count, 0, most) ||
      !Within(header.history_count, 0, most)) {
    return Wrong("number of blocks, copies or past tokens");
  }
  tokens_.resize(static_cast<size_t>(header.rows));
  positions_.resize(static_cast<size_t>(header.rows));
  if (!reader.GetArray(tokens_.data(), tokens_.size())) return Wrong("size");
  blocks_.clear();
  blocks_.reserve(static_cast<size_t>(header.block_count));
  TSR_RETURN_IF_ERROR(ReadSequences(reader, header.sequences));
  copies_.resize(static_cast<size_t>(header.copies));
  if (!reader.GetArray(copies_.data(), copies_.size())) return Wrong("size");
  for (const BlockCopy& copy : copies_) {
    if (!Within(copy.group, 0, limits_.groups - 1) || !Within(copy.from, 0, limits_.blocks - 1) ||
        !Within(copy.to, 0, limits_.blocks - 1)) {
      return Wrong("block copy");
    }
  }
  history_.clear();
  history_.reserve(static_cast<size_t>(header.history_count));
  logits_.resize(static_cast<size_t>(header.wanted_logits) * static_cast<size_t>(limits_.vocabulary));
  TSR_RETURN_IF_ERROR(ReadSamples(reader, header.samples));
  if (reader.left() != 0) return Wrong("size");

  view_.row_count = header.rows;
  view_.tokens = tokens_.data();
  view_.positions = positions_.data();
  view_.sources = sources_.data();
  view_.sequence_count = header.sequences;
  view_.sequences = sequences_.data();
  view_.copies = copies_.data();
  view_.copy_count = header.copies;
  view_.sample_count = header.samples;
  view_.samples = samples_.data();
  return absl::OkStatus();
}

absl::Status ReceivedStep::ReadSequences(RecordReader& reader, int32_t count) {
  sequences_.clear();
  block_lists_.clear();
  int32_t rows = 0;
  for (int32_t i = 0; i < count; ++i) {
    SequenceRecord record;
    if (!reader.Get(&record)) return Wrong("size");
    const auto row_count = static_cast<int32_t>(positions_.size());
    if (record.first_row != rows || !Within(record.row_count, 1, row_count - rows) ||
        !Within(record.first_position, 0, limits_.positions - record.row_count)) {
      return Wrong("sequence");
    }
    int32_t* const positions = positions_.data() + rows;
    for (int32_t row = 0; row < record.row_count; ++row) positions[row] = record.first_position + row;
    rows += record.row_count;
    const auto blocks =
        static_cast<size_t>(BlocksOf(record.first_position, record.row_count, limits_.block_tokens));
    SequenceView view;
    view.first_row = record.first_row;
    view.row_count = record.row_count;
    view.first_position = record.first_position;
    view.blocks = block_lists_.data() + block_lists_.size();  // within the reserved capacity
    for (int32_t group = 0; group < limits_.groups; ++group) {
      const size_t first = blocks_.size();
      if (blocks > blocks_.capacity() - first) return Wrong("number of blocks");
      blocks_.resize(first + blocks);
      if (!reader.GetArray(blocks_.data() + first, blocks)) return Wrong("size");
      for (size_t block = first; block < blocks_.size(); ++block) {
        if (!Within(blocks_[block], -1, limits_.blocks - 1)) return Wrong("block");
      }
      block_lists_.push_back(blocks_.data() + first);
    }
    sequences_.push_back(view);
  }
  if (rows != static_cast<int32_t>(positions_.size())) return Wrong("number of rows");
  return absl::OkStatus();
}

absl::Status ReceivedStep::ReadSamples(RecordReader& reader, int32_t count) {
  samples_.clear();
  size_t logits = 0;
  for (int32_t i = 0; i < count; ++i) {
    SampleRecord record;
    if (!reader.Get(&record)) return Wrong("size");
    if (!Within(record.row, 0, static_cast<int64_t>(positions_.size()) - 1) ||
        !Within(record.top_logprobs, -1, kMaxTopLogprobs) || !Within(record.wants_logits, 0, 1)) {
      return Wrong("sample");
    }
    if (!Within(record.history_count, 0, static_cast<int64_t>(history_.capacity() - history_.size())) ||
        !Within(record.bias_count, 0, static_cast<int64_t>(reader.left() / sizeof(BiasRecord)))) {
      return Wrong("sample's past tokens or biases");
    }
    SamplingParams& params = params_[static_cast<size_t>(i)];
    ToParams(record, &params);
    SampleRow sample;
    sample.row = record.row;
    sample.params = &params;
    sample.position = record.position;
    sample.gather_logits = record.gather_logits != 0;
    sample.history = history_.data() + history_.size();
    sample.history_count = record.history_count;
    history_.resize(history_.size() + static_cast<size_t>(record.history_count));
    if (!reader.GetArray(history_.data() + history_.size() - record.history_count,
                         static_cast<size_t>(record.history_count))) {
      return Wrong("size");
    }
    params.logit_bias.clear();
    for (int32_t bias = 0; bias < record.bias_count; ++bias) {
      BiasRecord read;
      if (!reader.Get(&read)) return Wrong("size");
      if (!Within(read.token, 0, limits_.vocabulary - 1)) return Wrong("bias");
      params.logit_bias.emplace_back(read.token, read.value);
    }
    if (record.wants_logits != 0) {
      if (logits + static_cast<size_t>(limits_.vocabulary) > logits_.size())
        return Wrong("number of logits wanted");
      sample.logits_out = logits_.data() + logits;
      logits += static_cast<size_t>(limits_.vocabulary);
    }
    samples_.push_back(sample);
  }
  return absl::OkStatus();
}

}  // namespace tessera

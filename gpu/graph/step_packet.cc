#include "gpu/graph/step_packet.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/base/checked.h"
#include "core/base/status.h"

namespace tessera::gpu {
namespace {

constexpr size_t kPartAlignment = 16;

size_t PartBytes(size_t count, size_t element_bytes) {
  return AlignUp(count * element_bytes, kPartAlignment);
}

// Hands out consecutive parts of a packet.
class PacketWriter {
 public:
  explicit PacketWriter(MappedMemory memory) : memory_(memory) {}
  // The part as the host writes it; *device: as the device reads it.
  template <typename T>
  T* Take(size_t count, const T** device) {
    *device = reinterpret_cast<const T*>(memory_.device + used_);
    T* const host = reinterpret_cast<T*>(memory_.host + used_);
    used_ += PartBytes(count, sizeof(T));
    return host;
  }

 private:
  const MappedMemory memory_;
  size_t used_ = 0;
};

bool LooksAtWindow(const tsr_device_sample& sample) {
  return sample.penalty_window_tokens > 0 &&
         (sample.repetition_penalty != 1.0f || sample.frequency_penalty != 0.0f ||
          sample.presence_penalty != 0.0f);
}

// The token of a sample's own row, where the step before samples it: it is not in the history yet.
bool RowIsSampled(const tsr_device_step& step, const tsr_device_sample& sample) {
  return step.tokens[sample.row] == -1;
}

int32_t WindowTokens(const tsr_device_step& step, const tsr_device_sample& sample) {
  if (!LooksAtWindow(sample)) return 0;
  const int32_t known = sample.history_count + (RowIsSampled(step, sample) ? 1 : 0);
  return std::min(sample.penalty_window_tokens, known);
}

// The token that the step before sampled, or a reference to it that the device resolves.
int32_t EarlierToken(const int32_t* known_tokens, int32_t source) {
  return known_tokens == nullptr ? kFirstEarlierSample - source : std::max(known_tokens[source], 0);
}

void WriteWindow(const tsr_device_step& step, const tsr_device_sample& sample, const int32_t* known_tokens,
                 int32_t count, int32_t* out) {
  const bool sampled = RowIsSampled(step, sample);
  const int32_t of_history = count - (sampled ? 1 : 0);
  if (of_history > 0) {
    std::memcpy(out, sample.history + sample.history_count - of_history,
                static_cast<size_t>(of_history) * sizeof(int32_t));
  }
  // A negative token in a history means nothing; it must not read as a reference.
  for (int32_t i = 0; i < of_history; ++i) out[i] = std::max(out[i], -1);
  if (sampled) out[of_history] = EarlierToken(known_tokens, step.sources[sample.row]);
}

void WriteParams(const tsr_device_sample& sample, SampleParams* params) {
  params->temperature = sample.temperature;
  params->top_k = sample.top_k;
  params->top_p = sample.top_p;
  params->min_p = sample.min_p;
  params->repetition_penalty = sample.repetition_penalty;
  params->frequency_penalty = sample.frequency_penalty;
  params->presence_penalty = sample.presence_penalty;
  params->top_logprobs = std::min(sample.top_logprobs, kMostTopLogprobs);
  params->seed = sample.seed;
  params->position = sample.position;
}

int32_t BlocksOf(const StepCapacity& capacity, const tsr_device_sequence& sequence) {
  return (sequence.first_position + sequence.row_count + capacity.block_tokens - 1) / capacity.block_tokens;
}

void PackRows(const tsr_device_step& step, const int32_t* known_tokens, PacketWriter* writer,
              StepInput* input) {
  const auto rows = static_cast<size_t>(step.row_count);
  int32_t* const tokens = writer->Take(rows, &input->tokens);
  for (int32_t row = 0; row < step.row_count; ++row) {
    tokens[row] = step.tokens[row] == -1 ? EarlierToken(known_tokens, step.sources[row]) : step.tokens[row];
  }
  std::memcpy(writer->Take(rows, &input->positions), step.positions, rows * sizeof(int32_t));
  int32_t* const row_sequence = writer->Take(rows, &input->row_sequence);
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const tsr_device_sequence& sequence = step.sequences[s];
    std::fill_n(row_sequence + sequence.first_row, sequence.row_count, s);
  }
}

void PackSequences(const StepCapacity& capacity, const tsr_device_step& step, PacketWriter* writer,
                   StepInput* input) {
  const auto sequences = static_cast<size_t>(step.sequence_count);
  const auto groups = static_cast<size_t>(capacity.groups);
  int32_t* const first_row = writer->Take(sequences, &input->first_row);
  int32_t* const row_count = writer->Take(sequences, &input->row_count);
  int32_t* const first_position = writer->Take(sequences, &input->first_position);
  TableSource* const tables = writer->Take(sequences * groups, &input->tables);
  int32_t total = 0;
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const int32_t padded = (BlocksOf(capacity, step.sequences[s]) + 3) / 4 * 4;
    total += padded * capacity.groups;
  }
  int32_t* const blocks = writer->Take(static_cast<size_t>(total), &input->table_blocks);
  int32_t at = 0;
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const tsr_device_sequence& sequence = step.sequences[s];
    first_row[s] = sequence.first_row;
    row_count[s] = sequence.row_count;
    first_position[s] = sequence.first_position;
    const int32_t count = BlocksOf(capacity, sequence);
    const int32_t padded = (count + 3) / 4 * 4;
    for (int32_t group = 0; group < capacity.groups; ++group) {
      tables[s * capacity.groups + group] = {at, count};
      std::memcpy(blocks + at, sequence.blocks[group], static_cast<size_t>(count) * sizeof(int32_t));
      std::fill(blocks + at + count, blocks + at + padded, -1);
      at += padded;
    }
  }
}

void PackSamples(const tsr_device_step& step, const int32_t* known_tokens, PacketWriter* writer,
                 StepInput* input) {
  const auto samples = static_cast<size_t>(step.sample_count);
  int32_t* const rows = writer->Take(samples, &input->sample_rows);
  SampleParams* const params = writer->Take(samples, &input->params);
  tsr_device_bias* const biases = writer->Take(static_cast<size_t>(input->bias_count), &input->biases);
  int32_t* const window = writer->Take(static_cast<size_t>(input->window_token_count), &input->window_tokens);
  int32_t bias_at = 0;
  int32_t window_at = 0;
  for (size_t i = 0; i < samples; ++i) {
    const tsr_device_sample& sample = step.samples[i];
    rows[i] = sample.row;
    WriteParams(sample, &params[i]);
    params[i].first_bias = bias_at;
    params[i].bias_count = sample.bias_count;
    if (sample.bias_count > 0) {
      std::memcpy(biases + bias_at, sample.bias,
                  static_cast<size_t>(sample.bias_count) * sizeof(tsr_device_bias));
    }
    bias_at += sample.bias_count;
    const int32_t window_tokens = WindowTokens(step, sample);
    params[i].first_window_token = window_at;
    params[i].window_token_count = window_tokens;
    if (window_tokens > 0) WriteWindow(step, sample, known_tokens, window_tokens, window + window_at);
    window_at += window_tokens;
  }
}

// Copies of different groups touch different memory, so that their order among each other means nothing.
void PackCopies(const StepCapacity& capacity, const tsr_device_step& step, PacketWriter* writer,
                PackedStep* packed) {
  for (int32_t group = 0; group < capacity.groups; ++group) {
    const auto count =
        static_cast<size_t>(std::count_if(step.copies, step.copies + step.copy_count,
                                          [group](const auto& copy) { return copy.group == group; }));
    if (count == 0) continue;
    *writer->Take(1, &packed->copies[group].count) = static_cast<int32_t>(count);
    int32_t* pair = writer->Take(2 * count, &packed->copies[group].pairs);
    for (int32_t i = 0; i < step.copy_count; ++i) {
      if (step.copies[i].group != group) continue;
      *pair++ = step.copies[i].from;
      *pair++ = step.copies[i].to;
    }
  }
}

absl::Status CheckSequences(const StepCapacity& capacity, const tsr_device_step& step) {
  int32_t rows = 0;
  for (int32_t s = 0; s < step.sequence_count; ++s) {
    const tsr_device_sequence& sequence = step.sequences[s];
    if (sequence.first_row != rows || sequence.row_count < 1 || sequence.row_count > step.row_count - rows ||
        sequence.first_position < 0 || sequence.first_position > capacity.positions - sequence.row_count) {
      return Internal("step", "a sequence's rows or positions are outside the step or the context");
    }
    rows += sequence.row_count;
  }
  return rows == step.row_count ? absl::OkStatus() : Internal("step", "the sequences do not cover its rows");
}

}  // namespace

size_t PacketBytes(const StepCapacity& capacity) {
  const auto rows = static_cast<size_t>(capacity.rows);
  const auto sequences = static_cast<size_t>(capacity.sequences);
  const auto samples = static_cast<size_t>(capacity.samples);
  const auto tables = sequences * static_cast<size_t>(capacity.groups);
  return 3 * PartBytes(rows, sizeof(int32_t)) + 3 * PartBytes(sequences, sizeof(int32_t)) +
         PartBytes(tables, sizeof(TableSource)) +
         PartBytes(tables * static_cast<size_t>(capacity.table_stride), sizeof(int32_t)) +
         PartBytes(samples, sizeof(int32_t)) + PartBytes(samples, sizeof(SampleParams)) +
         PartBytes(static_cast<size_t>(capacity.biases), sizeof(tsr_device_bias)) +
         PartBytes(static_cast<size_t>(capacity.window_tokens), sizeof(int32_t)) +
         static_cast<size_t>(capacity.groups) * 2 * kPartAlignment +
         PartBytes(2 * static_cast<size_t>(capacity.copies), sizeof(int32_t));
}

absl::Status CheckStepFits(const StepCapacity& capacity, const tsr_device_step& step,
                           int32_t earlier_samples) {
  if (step.row_count < 1 || step.row_count > capacity.rows || step.sequence_count < 1 ||
      step.sequence_count > capacity.sequences || step.sample_count < 0 ||
      step.sample_count > capacity.samples || step.copy_count < 0) {
    return Internal("step",
                    "it has more rows, sequences or samples than the context was made for, or no row");
  }
  if (step.copy_count > capacity.copies) {
    return LimitExceeded(
        "step", absl::StrCat("it copies ", step.copy_count, " blocks; there is room for ", capacity.copies));
  }
  TSR_RETURN_IF_ERROR(CheckSequences(capacity, step));
  for (int32_t row = 0; row < step.row_count; ++row) {
    if (step.tokens[row] >= 0) continue;
    if (step.tokens[row] != -1 || step.sources == nullptr || step.sources[row] < 0 ||
        step.sources[row] >= earlier_samples) {
      return Internal("step", "a row's token is none, and no sample of the step before");
    }
  }
  for (int32_t i = 0; i < step.sample_count; ++i) {
    if (step.samples[i].row < 0 || step.samples[i].row >= step.row_count) {
      return Internal("step", "a sampled row is outside it");
    }
  }
  for (int32_t i = 0; i < step.copy_count; ++i) {
    const tsr_device_copy& copy = step.copies[i];
    if (copy.group < 0 || copy.group >= capacity.groups || copy.from < 0 || copy.to < 0) {
      return Internal("step", "a block's copy is outside the cache");
    }
  }
  return absl::OkStatus();
}

absl::Status PackStep(const StepCapacity& capacity, const tsr_device_step& step, const int32_t* known_tokens,
                      MappedMemory memory, PackedStep* packed) {
  *packed = {};
  StepInput& input = packed->input;
  input.rows = step.row_count;
  input.sequences = step.sequence_count;
  input.samples = step.sample_count;
  input.groups = capacity.groups;
  int64_t biases = 0;
  int64_t window_tokens = 0;
  for (int32_t i = 0; i < step.sample_count; ++i) {
    biases += step.samples[i].bias_count;
    window_tokens += WindowTokens(step, step.samples[i]);
  }
  if (biases > capacity.biases || window_tokens > capacity.window_tokens) {
    return LimitExceeded("step", absl::StrCat("its samples have ", biases, " biases and ", window_tokens,
                                              " tokens under penalties together; there is room for ",
                                              capacity.biases, " and ", capacity.window_tokens));
  }
  input.bias_count = static_cast<int32_t>(biases);
  input.window_token_count = static_cast<int32_t>(window_tokens);
  PacketWriter writer(memory);
  PackRows(step, known_tokens, &writer, &input);
  PackSequences(capacity, step, &writer, &input);
  PackSamples(step, known_tokens, &writer, &input);
  if (step.copy_count > 0) PackCopies(capacity, step, &writer, packed);
  return absl::OkStatus();
}

}  // namespace tessera::gpu

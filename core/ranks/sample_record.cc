#include "core/ranks/sample_record.h"

#include <algorithm>

#include "core/base/status.h"
#include "core/ranks/record_io.h"

namespace tessera {
namespace {

struct ResultRecord {
  int32_t token = -1;
  int32_t numeric_fault = 0;
  float logprob = 0;
  int32_t top_count = 0;
  int32_t top_tokens[kMaxTopLogprobs] = {};
  float top_logprobs[kMaxTopLogprobs] = {};
};

absl::Status Wrong(absl::string_view what) { return Corrupt("sample record", what); }

}  // namespace

size_t MostSampleRecordBytes(int32_t samples, int32_t vocabulary) {
  return static_cast<size_t>(samples) *
         (sizeof(ResultRecord) + static_cast<size_t>(vocabulary) * sizeof(float));
}

void WriteSampleRecord(const StepView& step, int32_t vocabulary, std::vector<uint8_t>* record) {
  RecordWriter writer(record);
  for (int32_t i = 0; i < step.sample_count; ++i) {
    const SampleRow& sample = step.samples[i];
    ResultRecord result;
    result.token = sample.token;
    result.numeric_fault = sample.numeric_fault ? 1 : 0;
    result.logprob = sample.logprob;
    result.top_count = sample.top_count;
    std::copy_n(sample.top_tokens, sample.top_count, result.top_tokens);
    std::copy_n(sample.top_logprobs, sample.top_count, result.top_logprobs);
    writer.Put(result);
    if (sample.logits_out != nullptr) writer.PutArray(sample.logits_out, static_cast<size_t>(vocabulary));
  }
}

absl::Status ReadSampleRecord(absl::Span<const uint8_t> record, const StepView& step, int32_t vocabulary) {
  RecordReader reader(record);
  for (int32_t i = 0; i < step.sample_count; ++i) {
    SampleRow& sample = step.samples[i];
    ResultRecord result;
    if (!reader.Get(&result)) return Wrong("it ends before its last sample");
    const bool token = result.token >= 0 && result.token < vocabulary;
    if ((result.numeric_fault == 0 && !token) || result.top_count < 0 || result.top_count > kMaxTopLogprobs) {
      return Wrong("a token or a number of alternatives that cannot be");
    }
    sample.token = result.token;
    sample.numeric_fault = result.numeric_fault != 0;
    sample.logprob = result.logprob;
    sample.top_count = result.top_count;
    std::copy_n(result.top_tokens, result.top_count, sample.top_tokens);
    std::copy_n(result.top_logprobs, result.top_count, sample.top_logprobs);
    if (sample.logits_out != nullptr &&
        !reader.GetArray(sample.logits_out, static_cast<size_t>(vocabulary))) {
      return Wrong("it ends before its logits");
    }
  }
  if (reader.left() != 0) return Wrong("it is longer than its samples");
  return absl::OkStatus();
}

}  // namespace tessera

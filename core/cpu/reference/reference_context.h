// The regions in plain loops; see reference_backend.h.
#ifndef TESSERA_CORE_CPU_REFERENCE_REFERENCE_CONTEXT_H_
#define TESSERA_CORE_CPU_REFERENCE_REFERENCE_CONTEXT_H_

#include <memory>
#include <vector>

#include "core/execute/backend.h"
#include "core/sample/sampler.h"

namespace tessera {

// Floats in each of its arrays.
struct ReferenceSizes {
  ReferenceSizes(const ModelSpec& spec, const BackendLimits& limits);
  size_t hidden, normed, query, key, value, context, gate, up, logits, weight_row, vector;
  size_t bytes() const;
};

class ReferenceContext final : public BackendContext {
 public:
  // May throw std::bad_alloc.
  ReferenceContext(const ModelSpec& spec, const BackendLimits& limits);

  absl::Status Execute(const Region& region, const RegionWeights& weights,
                       const StepView& step) noexcept override;
  absl::Span<float> HiddenState(const StepView& step) noexcept override {
    return {hidden_.data(), static_cast<size_t>(step.row_count) * static_cast<size_t>(spec_.hidden_size)};
  }
  size_t scratch_bytes() const noexcept override;

 private:
  void Run(const Region& region, const RegionWeights& weights, const StepView& step);
  void Embed(const WeightView& table, const StepView& step);
  void Norm(const WeightView& weight, const float* x, float* out);
  // out [rows, weight.rows] = or += x [rows, weight.columns] weight^T + bias.
  void Linear(const WeightView& weight, const WeightView& bias, const float* x, int32_t rows, bool accumulate,
              float* out);
  void RotateAndAppend(const LayerSpec& layer, int32_t layer_in_group, const StepView& step);
  void Attend(const LayerSpec& layer, int32_t layer_in_group, const StepView& step);
  void Head(const RegionWeights& weights, const StepView& step);

  const ModelSpec& spec_;
  const BackendLimits limits_;
  std::vector<int32_t> layer_in_group_;  // [layers]
  std::vector<float> hidden_;            // [rows, hidden]
  std::vector<float> normed_;            // [rows, hidden]
  std::vector<float> query_;             // [rows, heads * head_size]
  std::vector<float> key_;               // [rows, kv_heads * head_size]
  std::vector<float> value_;             // [rows, kv_heads * head_size]
  std::vector<float> context_;           // [rows, heads * head_size]
  std::vector<float> gate_;              // [rows, feed_forward]
  std::vector<float> up_;                // [rows, feed_forward]
  std::vector<float> logits_;            // [samples, vocabulary]
  std::vector<float> weight_row_;        // the widest row of any weight
  std::vector<float> vector_;            // a norm's weight or a bias
  std::unique_ptr<Sampler> sampler_;
};

}  // namespace tessera

#endif  // TESSERA_CORE_CPU_REFERENCE_REFERENCE_CONTEXT_H_

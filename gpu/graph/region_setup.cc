// What regions need before their first launch: plans of products, attributes of kernels.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "gpu/graph/regions.h"
#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/linear/linear.h"

namespace tessera::gpu {
namespace {

constexpr int64_t kElementBytes = 2;  // of F16 and BF16

// Whether `next` begins where `weight` ends, so that one product computes both.
bool Follows(const tsr_device_weight& weight, const tsr_device_weight& next) {
  return static_cast<const uint8_t*>(weight.data) + weight.rows * weight.columns * kElementBytes == next.data;
}

// Plans products one after the other, for one stream.
class ProductPlanner {
 public:
  ProductPlanner(RegionContext* context, cudaStream_t stream) : context_(context) {
    launch_.stream = stream;
    launch_.sm_count = context->sm_count;
  }

  // Into columns [first_output, first_output + outputs) of rows of out_stride elements.
  absl::Status Plan(const tsr_device_weight& weight, int64_t outputs, const void* x, ElementType type,
                    void* out, ElementType out_type, int64_t first_output, int64_t out_stride,
                    bool accumulate, int* product) {
    return PlanFor(context_->layout.capacity.rows, weight, outputs, x, type, out, out_type, first_output,
                   out_stride, accumulate, product);
  }

  // The same for another number of rows than a step has.
  absl::Status PlanFor(int32_t max_rows, const tsr_device_weight& weight, int64_t outputs, const void* x,
                       ElementType type, void* out, ElementType out_type, int64_t first_output,
                       int64_t out_stride, bool accumulate, int* product) {
    MatmulShape shape;
    shape.max_rows = max_rows;
    shape.type = type;
    shape.out_type = out_type;
    shape.outputs = static_cast<int32_t>(outputs);
    shape.columns = static_cast<int32_t>(weight.columns);
    shape.out_stride = out_stride;
    shape.weight_align = AlignmentOf(weight.data);
    uint8_t* const target =
        static_cast<uint8_t*>(out) + first_output * (out_type == ElementType::kF32 ? 4 : kElementBytes);
    shape.out_align = AlignmentOf(target);
    shape.accumulate = accumulate;
    TSR_ASSIGN_OR_RETURN(*product, context_->matmul->Prepare(shape, launch_, x, weight.data, target));
    return absl::OkStatus();
  }

  absl::Status PlanLayer(const tsr_device_layer& layer, LayerProducts* products) {
    TSR_RETURN_IF_ERROR(PlanQkv(layer, products));
    const ContextArrays& arrays = context_->arrays;
    const ElementType type = context_->model.type;
    const int64_t hidden = context_->model.description.hidden_size;
    TSR_RETURN_IF_ERROR(Plan(layer.output, hidden, arrays.context, type, arrays.hidden, ElementType::kF32, 0,
                             hidden, true, &products->output));
    const int64_t ffn = context_->model.description.feed_forward_size;
    const bool joined = Follows(layer.gate, layer.up);
    TSR_RETURN_IF_ERROR(Plan(layer.gate, joined ? 2 * ffn : ffn, arrays.normed, type, arrays.gate_up, type, 0,
                             2 * ffn, false, &products->gate));
    if (!joined) {
      TSR_RETURN_IF_ERROR(
          Plan(layer.up, ffn, arrays.normed, type, arrays.gate_up, type, ffn, 2 * ffn, false, &products->up));
    }
    return Plan(layer.down, hidden, arrays.active, type, arrays.hidden, ElementType::kF32, 0, hidden, true,
                &products->down);
  }

 private:
  absl::Status PlanQkv(const tsr_device_layer& layer, LayerProducts* products) {
    const int64_t query = QueryColumns(layer);
    const int64_t key = KeyColumns(layer);
    const int64_t all = QkvColumns(layer);
    const auto plan = [&](const tsr_device_weight& weight, int64_t outputs, int64_t first, int* product) {
      return Plan(weight, outputs, context_->arrays.normed, context_->model.type, context_->arrays.qkv,
                  context_->model.type, first, all, false, product);
    };
    if (Follows(layer.query, layer.key) && Follows(layer.key, layer.value)) {
      return plan(layer.query, all, 0, &products->query);
    }
    TSR_RETURN_IF_ERROR(plan(layer.query, query, 0, &products->query));
    TSR_RETURN_IF_ERROR(plan(layer.key, key, query, &products->key));
    return plan(layer.value, key, query + key, &products->value);
  }

  RegionContext* const context_;
  LaunchContext launch_;
};

}  // namespace

absl::Status PrepareProducts(RegionContext* context, cudaStream_t stream, bool use_library) {
  MatmulOptions options;
  options.batch_invariant = context->batch_invariant;
  options.use_library = use_library;
  TSR_ASSIGN_OR_RETURN(context->matmul,
                       Matmul::Create(context->api, options, context->arrays.matmul_workspace));
  ProductPlanner planner(context, stream);
  context->products.resize(context->model.layers.size());
  for (size_t i = 0; i < context->model.layers.size(); ++i) {
    TSR_RETURN_IF_ERROR(planner.PlanLayer(context->model.layers[i], &context->products[i]));
  }
  const tsr_device_model& model = context->model.description;
  return planner.PlanFor(context->layout.capacity.samples, model.head, model.vocabulary_size,
                         context->arrays.normed, context->model.head_type, context->arrays.logits,
                         ElementType::kF32, 0, model.vocabulary_size, false, &context->head_product);
}

absl::Status PrepareKernels(RegionContext* context) {
  DeviceApi* const api = context->api;
  const int32_t vocabulary = context->model.description.vocabulary_size;
  const int32_t samples = context->layout.capacity.samples;
  TSR_RETURN_IF_ERROR(api->Do("preparing sampling", [&] {
    const cudaError_t error =
        PrepareSample(vocabulary, std::min(samples, kFewSamples), &context->few_samples);
    return error != cudaSuccess ? error : PrepareSample(vocabulary, samples, &context->many_samples);
  }));
  for (const SampleSetup* setup : {&context->few_samples, &context->many_samples}) {
    if (setup->workspace_bytes <= context->layout.scratch.sample_workspace_bytes) continue;
    return Internal("sampling",
                    absl::StrCat("it needs ", setup->workspace_bytes, " bytes; ",
                                 context->layout.scratch.sample_workspace_bytes, " were planned"));
  }
  TSR_RETURN_IF_ERROR(api->Do("preparing chains", [] { return PrepareStreamKernels(); }));
  TSR_RETURN_IF_ERROR(api->Do("preparing wide products", [context] {
    const cudaError_t error = PrepareWideKernels(&context->wide);
    if (error != cudaErrorNotSupported) return error;
    context->wide.clusters = 0;
    return cudaSuccess;
  }));
  for (size_t i = 0; i < context->model.layers.size(); ++i) {
    const AttentionShape shape = ShapeOfAttention(context->model, context->model.layers[i]);
    TSR_RETURN_IF_ERROR(
        api->Do("preparing attention", [&] { return PrepareAttention(shape, context->caches[i]); }));
  }
  return absl::OkStatus();
}

}  // namespace tessera::gpu

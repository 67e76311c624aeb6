// Chains of small-batch nodes against a double-precision reference that rounds where they do.
#include "gpu/kernels/linear/linear.h"
#include "tests/gpu/gpu_test.h"
#include "tests/gpu/layer_reference.h"

namespace tessera::gpu {
namespace {

constexpr int kBlockTokens = 16;
// One layer's chain with random weights: out, gate-up, down, then QKV or the head.
template <typename T>
class Chain {
 public:
  Chain(const LayerShape& shape, int rows, bool halves, bool biases, int sm_count)
      : shape_(shape), rows_(rows), halves_(halves), sm_count_(sm_count) {
    const int q = shape.heads * shape.head_size;
    const int kv = shape.kv_heads * shape.head_size;
    const float deviation = 1.0f;
    const auto matrix = [&](int outputs, int columns, uint32_t seed) {
      return RandomValues<T>(static_cast<size_t>(outputs) * columns, deviation / std::sqrt(float(columns)),
                             seed);
    };
    out_ = matrix(shape.hidden, q, 1);
    gate_ = matrix(shape.ffn, shape.hidden, 2);
    up_ = matrix(shape.ffn, shape.hidden, 3);
    down_ = matrix(shape.hidden, shape.ffn, 4);
    query_ = matrix(q, shape.hidden, 5);
    key_ = matrix(kv, shape.hidden, 6);
    value_ = matrix(kv, shape.hidden, 7);
    head_ = matrix(shape.vocabulary, shape.hidden, 8);
    norm1_ = RandomValues<float>(shape.hidden, 1.0f, 9);
    norm2_ = RandomValues<float>(shape.hidden, 1.0f, 10);
    context_ = RandomValues<T>(static_cast<size_t>(rows) * q, 1.0f, 11);
    hidden_ = RandomValues<float>(static_cast<size_t>(rows) * shape.hidden, 3.0f, 12);
    query_bias_ = RandomValues<float>(q, biases ? 1.0f : 0.0f, 13);
    key_bias_ = RandomValues<float>(kv, biases ? 1.0f : 0.0f, 14);
    value_bias_ = RandomValues<float>(kv, biases ? 1.0f : 0.0f, 15);
    out_bias_ = RandomValues<float>(shape.hidden, biases ? 1.0f : 0.0f, 16);
    for (int r = 0; r < rows; ++r) positions_.push_back((r * 37 + 5) % 64), sequences_.push_back(r);
    rotary_ = RotaryTable(64, shape.head_size);
    for (int s = 0; s < rows; ++s) {
      for (int b = 0; b < 4; ++b) table_.push_back(rows * 4 - 1 - (s * 4 + b));
    }
  }

  // Runs it and compares. `head`: the last node is the head, else QKV.
  void Check(cudaStream_t stream, bool head, double bound) {
    const int q_size = shape_.heads * shape_.head_size;
    const int kv_size = shape_.kv_heads * shape_.head_size;
    const DeviceBuffer<T> out(out_), gate(gate_), up(up_), down(down_), query(query_), key(key_),
        value(value_), head_weight(head_), context(context_);
    const DeviceBuffer<float> norm1(norm1_), norm2(norm2_), query_bias(query_bias_), key_bias(key_bias_),
        value_bias(value_bias_), out_bias(out_bias_);
    const DeviceBuffer<float> hidden(hidden_);
    const DeviceBuffer<float2> rotary(rotary_);
    const DeviceBuffer<int32_t> positions(positions_), sequences(sequences_), table(table_);
    const DeviceBuffer<T> q(static_cast<size_t>(rows_) * q_size);
    const int block_bytes = 2 * kBlockTokens * kv_size * 2;
    const DeviceBuffer<uint8_t> cache(static_cast<size_t>(rows_) * 4 * block_bytes);
    const DeviceBuffer<float> logits(static_cast<size_t>(rows_) * shape_.vocabulary);
    const DeviceBuffer<T> x1(static_cast<size_t>(rows_) * shape_.hidden),
        x2(static_cast<size_t>(rows_) * shape_.hidden), act(static_cast<size_t>(rows_) * shape_.ffn);
    const DeviceBuffer<float> squares1(kMostStreamBlocks * kMostStreamedRows),
        squares2(kMostStreamBlocks * kMostStreamedRows);
    DeviceBuffer<uint4> poisoned(1000);
    poisoned.Write(std::vector<uint4>(1000));

    const int parts = StreamBlocks(sm_count_);
    StreamChain chain;
    chain.count = 4;
    chain.poison = poisoned.get();
    chain.poison_bytes = 999 * 16;
    StreamNode& first = chain.nodes[0];
    first.kind = StreamKind::kResidual;
    first.input = {context.get(), rows_, q_size, nullptr, 0, 0};
    first.weight = out.get();
    first.bias = out_bias.get();
    first.outputs = shape_.hidden;
    first.hidden = {hidden.get(), norm1.get(), x1.get(), squares1.get()};
    StreamNode& second = chain.nodes[1];
    second.kind = StreamKind::kGateUp;
    second.input = {x1.get(), rows_, shape_.hidden, squares1.get(), parts, kNormEpsilon};
    second.weight = gate.get();
    second.up = up.get();
    second.outputs = shape_.ffn;
    second.out = act.get();
    StreamNode& third = chain.nodes[2];
    third.kind = StreamKind::kResidual;
    third.input = {act.get(), rows_, shape_.ffn, nullptr, 0, 0};
    third.weight = down.get();
    third.outputs = shape_.hidden;
    third.hidden = {hidden.get(), norm2.get(), x2.get(), squares2.get()};
    StreamNode& fourth = chain.nodes[3];
    fourth.input = {x2.get(), rows_, shape_.hidden, squares2.get(), parts, kNormEpsilon};
    if (head) {
      fourth.kind = StreamKind::kHead;
      fourth.weight = head_weight.get();
      fourth.outputs = shape_.vocabulary;
      fourth.out = logits.get();
    } else {
      fourth.kind = StreamKind::kQkv;
      fourth.outputs = q_size + 2 * kv_size;
      StreamQkv& qkv = chain.qkv;
      qkv.query = query.get(), qkv.key = key.get(), qkv.value = value.get();
      qkv.query_bias = query_bias.get(), qkv.key_bias = key_bias.get(), qkv.value_bias = value_bias.get();
      qkv.heads = shape_.heads, qkv.kv_heads = shape_.kv_heads, qkv.head_size = shape_.head_size;
      qkv.rotary_dimensions = shape_.head_size;
      qkv.halves = halves_;
      qkv.rotary = rotary.get();
      qkv.q = q.get();
      qkv.cache.data = cache.get();
      qkv.cache.type = std::is_same_v<T, __half> ? ElementType::kF16 : ElementType::kBF16;
      qkv.cache.block_tokens = kBlockTokens;
      qkv.cache.kv_heads = shape_.kv_heads, qkv.cache.head_size = shape_.head_size;
      qkv.cache.row_bytes = 2 * shape_.head_size;
      qkv.cache.value_offset_bytes = block_bytes / 2;
      qkv.cache.block_bytes = block_bytes;
      qkv.step.positions = positions.get(), qkv.step.row_sequence = sequences.get();
      qkv.step.block_table = table.get(), qkv.step.table_stride = 4;
    }
    const ElementType type = std::is_same_v<T, __half> ? ElementType::kF16 : ElementType::kBF16;
    ASSERT_TRUE(StreamFits(type, rows_, std::max({shape_.hidden, shape_.ffn, q_size})));
    ASSERT_CUDA(PrepareStreamKernels());
    ASSERT_CUDA(LaunchStreamChain({stream, sm_count_, false}, type, chain));
    ASSERT_CUDA(cudaDeviceSynchronize());

    std::vector<double> h(hidden_.begin(), hidden_.end());
    std::vector<double> ctx;
    for (const T v : context_) ctx.push_back(ToFloat(v));
    const auto add = [&](const std::vector<double>& y, const std::vector<float>* bias) {
      for (size_t i = 0; i < h.size(); ++i)
        h[i] += y[i] + (bias != nullptr ? (*bias)[i % shape_.hidden] : 0.0f);
    };
    std::vector<double> scale(rows_);
    const auto normed = [&](const std::vector<float>& weight) {
      std::vector<double> x(h.size());
      for (int r = 0; r < rows_; ++r) {
        double squares = 0;
        for (int c = 0; c < shape_.hidden; ++c) {
          const double v = h[r * shape_.hidden + c];
          squares += v * v;
          x[r * shape_.hidden + c] = Rounded<T>(v * weight[c]);
        }
        scale[r] = 1 / std::sqrt(squares / shape_.hidden + kNormEpsilon);
      }
      return x;
    };
    const auto scaled = [&](std::vector<double> y) {
      const size_t outputs = y.size() / rows_;
      for (size_t i = 0; i < y.size(); ++i) y[i] *= scale[i / outputs];
      return y;
    };
    add(Product(ctx, out_, rows_, q_size), &out_bias_);
    std::vector<double> x = normed(norm1_);
    EXPECT_LT(RelativeError(x1.Read(), x), bound) << "the first residual node's output";
    const std::vector<double> g = scaled(Product(x, gate_, rows_, shape_.hidden));
    const std::vector<double> u = scaled(Product(x, up_, rows_, shape_.hidden));
    std::vector<double> a(g.size());
    for (size_t i = 0; i < a.size(); ++i) a[i] = Rounded<T>(Activated(g[i], u[i]));
    EXPECT_LT(RelativeError(act.Read(), a), bound) << "the activations";
    // F16's next input is handed on times a power of two near the last scale.
    std::vector<double> factor(rows_, 1.0);
    for (int r = 0; r < rows_ && std::is_same_v<T, __half>; ++r)
      factor[r] = std::exp2(std::floor(std::log2(scale[r])));
    add(Product(a, down_, rows_, shape_.ffn), nullptr);
    EXPECT_LT(RelativeError(hidden.Read(), h), bound) << "the hidden state";
    x = normed(norm2_);
    std::vector<double> handed_on = x;
    for (size_t i = 0; i < x.size(); ++i) handed_on[i] *= factor[i / shape_.hidden];
    EXPECT_LT(RelativeError(x2.Read(), handed_on), bound) << "the second residual node's output";
    if (head) {
      EXPECT_LT(RelativeError(logits.Read(), scaled(Product(x, head_, rows_, shape_.hidden))), bound)
          << "the logits";
    } else {
      CheckQkv(scaled(Product(x, query_, rows_, shape_.hidden)), query_bias_, q.Read(), true, shape_.heads,
               bound);
      const std::vector<uint8_t> bytes = cache.Read();
      for (const bool keys : {true, false}) {
        std::vector<T> stored;
        for (int r = 0; r < rows_; ++r) {
          const int block = table_[r * 4 + positions_[r] / kBlockTokens];
          for (int head_index = 0; head_index < shape_.kv_heads; ++head_index) {
            const size_t at =
                size_t(block) * block_bytes + (keys ? 0 : block_bytes / 2) +
                (size_t(head_index) * kBlockTokens + positions_[r] % kBlockTokens) * 2 * shape_.head_size;
            const T* from = reinterpret_cast<const T*>(bytes.data() + at);
            stored.insert(stored.end(), from, from + shape_.head_size);
          }
        }
        CheckQkv(scaled(Product(x, keys ? key_ : value_, rows_, shape_.hidden)),
                 keys ? key_bias_ : value_bias_, stored, keys, shape_.kv_heads, bound);
      }
    }
    const std::vector<uint4> after = poisoned.Read();
    EXPECT_EQ(after[998].w, 0xFFFFFFFFu) << "the next chain's buffers";
    EXPECT_EQ(after[999].x, 0u) << "what lies behind them";
  }

 private:
  void CheckQkv(std::vector<double> y, const std::vector<float>& bias, const std::vector<T>& actual,
                bool rotates, int heads, double bound) {
    const int size = shape_.head_size;
    for (size_t i = 0; i < y.size(); ++i) y[i] += bias[i % bias.size()];
    for (int r = 0; rotates && r < rows_; ++r) {
      for (int head = 0; head < heads; ++head) {
        Rotate(&rotary_[positions_[r] * (size / 2)], size, halves_,
               y.data() + (static_cast<size_t>(r) * heads + head) * size);
      }
    }
    EXPECT_LT(RelativeError(actual, y), bound) << heads << " heads' rows" << (rotates ? ", rotated" : "");
  }

  const LayerShape shape_;
  const int rows_;
  const bool halves_;
  const int sm_count_;
  std::vector<T> out_, gate_, up_, down_, query_, key_, value_, head_, context_;
  std::vector<float> norm1_, norm2_, hidden_, query_bias_, key_bias_, value_bias_, out_bias_;
  std::vector<float2> rotary_;
  std::vector<int32_t> positions_, sequences_, table_;
};

class LinearChain : public GpuTest {
 protected:
  template <typename T>
  void Check(const LayerShape& shape, int rows, bool halves, bool biases, bool head) {
    SCOPED_TRACE(::testing::Message()
                 << "hidden " << shape.hidden << ", ffn " << shape.ffn << ", rows " << rows);
    Chain<T>(shape, rows, halves, biases, properties_.multiProcessorCount)
        .Check(stream_, head, kLayerBound<T>);
  }
};

constexpr LayerShape kSmall{576, 9, 3, 64, 1536, 1001};
constexpr LayerShape kTiny{64, 4, 2, 16, 96, 67};
constexpr LayerShape kMiddle{2048, 32, 8, 64, 8192, 515};
constexpr LayerShape kLarge{4096, 32, 8, 128, 14336, 259};

TEST_F(LinearChain, agrees_with_double_precision_for_every_number_of_rows) {
  for (int rows = 1; rows <= kMostStreamedRows; ++rows) {
    Check<__nv_bfloat16>(kSmall, rows, false, false, rows % 2 == 0);
    Check<__half>(kSmall, rows, true, true, rows % 2 != 0);
  }
}

TEST_F(LinearChain, agrees_where_most_blocks_have_no_tile) {
  for (const int rows : {1, 5, 16}) {
    Check<__nv_bfloat16>(kTiny, rows, true, true, false);
    Check<__half>(kTiny, rows, false, false, true);
  }
}

TEST_F(LinearChain, agrees_at_the_shapes_of_real_models) {
  Check<__nv_bfloat16>(kMiddle, 1, false, false, false);
  Check<__nv_bfloat16>(kMiddle, 2, true, true, true);
  Check<__nv_bfloat16>(kLarge, 1, true, false, false);
  Check<__nv_bfloat16>(kLarge, 2, false, false, true);
}

}  // namespace
}  // namespace tessera::gpu

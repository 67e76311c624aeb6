// A layer's products for up to 64 rows against a double-precision reference that rounds where they do.
#include <algorithm>
#include <memory>
#include <type_traits>

#include "gpu/kernels/wide_linear/wide_linear.h"
#include "tests/gpu/gpu_test.h"
#include "tests/gpu/layer_reference.h"

namespace tessera::gpu {
namespace {

constexpr int kBlockTokens = 16;
constexpr int kBlocksPerSequence = 4;
// Uniform, of the given deviation; matrices of real sizes would take std::normal_distribution seconds.
template <typename T>
std::vector<T> UniformValues(size_t count, float deviation, uint32_t seed) {
  std::vector<T> values(count);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (T& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const float unit = static_cast<float>(state >> 40) * (1.0f / (1 << 24)) - 0.5f;
    value = FromFloat<T>(unit * deviation * 3.4641016f);
  }
  return values;
}

// What a chain of nodes leaves behind.
template <typename T>
struct Outcome {
  std::vector<T> x1, act, x2, q, keys, values;  // keys, values: gathered from the cache by rows
  std::vector<float> hidden, logits;
};

struct Options {
  bool overlap = false;
  bool late_release = false;
  int in_flight_bytes = 64 * 1024;
  int ahead_bytes = 0;
};

// One layer: output projection, gate and up, down, then QKV or the head, with random weights.
template <typename T>
class Layer {
 public:
  Layer(const LayerShape& shape, bool halves, bool biases)
      : shape_(shape),
        halves_(halves),
        q_size_(shape.heads * shape.head_size),
        kv_size_(shape.kv_heads * shape.head_size) {
    const auto matrix = [&](int outputs, int columns, uint32_t seed) {
      return UniformValues<T>(static_cast<size_t>(outputs) * columns, 1 / std::sqrt(float(columns)), seed);
    };
    const auto bias = [&](int count, uint32_t seed) {
      return UniformValues<float>(count, biases ? 1.0f : 0.0f, seed);
    };
    out_ = matrix(shape.hidden, q_size_, 1);
    gate_ = matrix(shape.ffn, shape.hidden, 2);
    up_ = matrix(shape.ffn, shape.hidden, 3);
    down_ = matrix(shape.hidden, shape.ffn, 4);
    query_ = matrix(q_size_, shape.hidden, 5);
    key_ = matrix(kv_size_, shape.hidden, 6);
    value_ = matrix(kv_size_, shape.hidden, 7);
    head_ = matrix(shape.vocabulary, shape.hidden, 8);
    norm1_ = UniformValues<float>(shape.hidden, 1.0f, 9);
    norm2_ = UniformValues<float>(shape.hidden, 1.0f, 10);
    context_ = UniformValues<T>(static_cast<size_t>(kMostWideRows) * q_size_, 1.0f, 11);
    hidden_ = UniformValues<float>(static_cast<size_t>(kMostWideRows) * shape.hidden, 3.0f, 12);
    query_bias_ = bias(q_size_, 13);
    key_bias_ = bias(kv_size_, 14);
    value_bias_ = bias(kv_size_, 15);
    out_bias_ = bias(shape.hidden, 16);
    rotary_ = RotaryTable(kBlockTokens * kBlocksPerSequence, shape.head_size);
    for (int r = 0; r < kMostWideRows; ++r) {
      positions_.push_back((r * 37 + 5) % (kBlockTokens * kBlocksPerSequence));
      for (int b = 0; b < kBlocksPerSequence; ++b) {
        table_.push_back(kMostWideRows * kBlocksPerSequence - 1 - (r * kBlocksPerSequence + b));
      }
    }
    device_.reset(new Weights(*this));
  }

  // Of the first `rows` rows. `idle`: a row that belongs to no sequence; -1: none has that lot.
  Outcome<T> Run(cudaStream_t stream, WideSetup setup, int rows, bool head, const Options& options,
                 int idle = -1) {
    const auto first_rows = [&](const auto& values, int width) {
      return std::decay_t<decltype(values)>(values.begin(), values.begin() + size_t(rows) * width);
    };
    std::vector<int32_t> sequences;
    for (int r = 0; r < rows; ++r) sequences.push_back(r == idle ? -1 : r);
    const DeviceBuffer<T> context(first_rows(context_, q_size_));
    const DeviceBuffer<float> hidden(first_rows(hidden_, shape_.hidden));
    const DeviceBuffer<int32_t> positions(first_rows(positions_, 1)), rows_of(sequences), table(table_);
    const DeviceBuffer<T> q(size_t(rows) * q_size_), x1(size_t(rows) * shape_.hidden),
        x2(size_t(rows) * shape_.hidden), act(size_t(rows) * shape_.ffn);
    const DeviceBuffer<float> logits(size_t(rows) * shape_.vocabulary);
    const DeviceBuffer<float> squares1(size_t(rows) * kMostStreamBlocks),
        squares2(size_t(rows) * kMostStreamBlocks);
    const int block_bytes = 2 * kBlockTokens * kv_size_ * 2;
    const DeviceBuffer<uint8_t> cache(table_.size() * block_bytes);
    const ElementType type = std::is_same_v<T, __half> ? ElementType::kF16 : ElementType::kBF16;
    const Weights& w = *device_;
    setup.in_flight_bytes = options.in_flight_bytes;
    setup.ahead_bytes = options.ahead_bytes;
    setup.release_early = !options.late_release;

    const int parts = WideSquareParts(setup, shape_.hidden);
    WideNode nodes[4];
    StreamNode& first = nodes[0].node;
    first.kind = StreamKind::kResidual;
    first.input = {context.get(), rows, q_size_, nullptr, 0, 0};
    first.weight = w.out.get();
    first.bias = w.out_bias.get();
    first.outputs = shape_.hidden;
    first.hidden = {hidden.get(), w.norm1.get(), x1.get(), squares1.get()};
    StreamNode& second = nodes[1].node;
    second.kind = StreamKind::kGateUp;
    second.input = {x1.get(), rows, shape_.hidden, squares1.get(), parts, kNormEpsilon};
    second.weight = w.gate.get();
    second.up = w.up.get();
    second.outputs = shape_.ffn;
    second.out = act.get();
    StreamNode& third = nodes[2].node;
    third.kind = StreamKind::kResidual;
    third.input = {act.get(), rows, shape_.ffn, nullptr, 0, 0};
    third.weight = w.down.get();
    third.outputs = shape_.hidden;
    third.hidden = {hidden.get(), w.norm2.get(), x2.get(), squares2.get()};
    StreamNode& fourth = nodes[3].node;
    fourth.input = {x2.get(), rows, shape_.hidden, squares2.get(), parts, kNormEpsilon};
    if (head) {
      fourth.kind = StreamKind::kHead;
      fourth.weight = w.head.get();
      fourth.outputs = shape_.vocabulary;
      fourth.out = logits.get();
    } else {
      fourth.kind = StreamKind::kQkv;
      fourth.outputs = q_size_ + 2 * kv_size_;
      StreamQkv& qkv = nodes[3].qkv;
      qkv.query = w.query.get(), qkv.key = w.key.get(), qkv.value = w.value.get();
      qkv.query_bias = w.query_bias.get(), qkv.key_bias = w.key_bias.get();
      qkv.value_bias = w.value_bias.get();
      qkv.heads = shape_.heads, qkv.kv_heads = shape_.kv_heads, qkv.head_size = shape_.head_size;
      qkv.rotary_dimensions = shape_.head_size;
      qkv.halves = halves_;
      qkv.rotary = w.rotary.get();
      qkv.q = q.get();
      qkv.cache.data = cache.get();
      qkv.cache.type = type;
      qkv.cache.block_tokens = kBlockTokens;
      qkv.cache.kv_heads = shape_.kv_heads, qkv.cache.head_size = shape_.head_size;
      qkv.cache.row_bytes = 2 * shape_.head_size;
      qkv.cache.value_offset_bytes = block_bytes / 2;
      qkv.cache.block_bytes = block_bytes;
      qkv.step.positions = positions.get(), qkv.step.row_sequence = rows_of.get();
      qkv.step.block_table = table.get(), qkv.step.table_stride = kBlocksPerSequence;
    }
    Outcome<T> outcome;
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(WideFits(setup, type, nodes[i])) << "node " << i;
      const LaunchContext launch{stream, 0, options.overlap && i > 0};
      EXPECT_EQ(LaunchWideLinear(launch, setup, type, nodes[i], i < 3 ? &nodes[i + 1] : nullptr, i > 0),
                cudaSuccess)
          << "node " << i;
    }
    const cudaError_t error = cudaDeviceSynchronize();
    EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
    if (error != cudaSuccess) return outcome;
    outcome.x1 = x1.Read(), outcome.x2 = x2.Read(), outcome.act = act.Read();
    outcome.hidden = hidden.Read();
    if (head) {
      outcome.logits = logits.Read();
      return outcome;
    }
    outcome.q = q.Read();
    const std::vector<uint8_t> bytes = cache.Read();
    for (int r = 0; r < rows; ++r) {
      const int block = table_[r * kBlocksPerSequence + positions_[r] / kBlockTokens];
      for (const bool keys : {true, false}) {
        for (int h = 0; h < shape_.kv_heads; ++h) {
          const size_t at = size_t(block) * block_bytes + (keys ? 0 : block_bytes / 2) +
                            (size_t(h) * kBlockTokens + positions_[r] % kBlockTokens) * 2 * shape_.head_size;
          const T* from = reinterpret_cast<const T*>(bytes.data() + at);
          std::vector<T>& to = keys ? outcome.keys : outcome.values;
          to.insert(to.end(), from, from + shape_.head_size);
        }
      }
    }
    // Nothing else of the cache was touched.
    const size_t written = std::count_if(bytes.begin(), bytes.end(), [](uint8_t b) { return b != 0xFF; });
    EXPECT_LE(written, size_t(rows - (idle >= 0 ? 1 : 0)) * kv_size_ * 4);
    return outcome;
  }

  // What the rows `sampled` must be, each within `bound` of the length of all that a node wrote of it.
  void Compare(const Outcome<T>& outcome, const std::vector<int>& sampled, bool head, double bound) const {
    const int hidden = shape_.hidden;
    for (const int r : sampled) {
      SCOPED_TRACE(::testing::Message() << "row " << r);
      std::vector<double> h(hidden_.begin() + size_t(r) * hidden, hidden_.begin() + size_t(r + 1) * hidden);
      std::vector<double> x;
      double scale = 1;
      const auto normed = [&](const std::vector<float>& weight) {
        double squares = 0;
        x.resize(hidden);
        for (int c = 0; c < hidden; ++c) {
          squares += h[c] * h[c];
          x[c] = Rounded<T>(h[c] * weight[c]);
        }
        scale = 1 / std::sqrt(squares / hidden + kNormEpsilon);
      };
      const auto product = [&](const std::vector<T>& weight) {
        std::vector<double> y = Product(x, weight, 1, static_cast<int>(x.size()));
        for (double& value : y) value *= scale;
        return y;
      };
      const auto expect = [&](const auto& actual, const std::vector<double>& expected, const char* what) {
        const auto begin = actual.begin() + size_t(r) * expected.size();
        const std::decay_t<decltype(actual)> row(begin, begin + expected.size());
        EXPECT_LT(RelativeError(row, expected), bound) << what;
      };
      for (int c = 0; c < q_size_; ++c) x.push_back(ToFloat(context_[size_t(r) * q_size_ + c]));
      std::vector<double> y = product(out_);
      for (int c = 0; c < hidden; ++c) h[c] += y[c] + out_bias_[c];
      normed(norm1_);
      expect(outcome.x1, x, "the next node's input behind the output projection");
      const std::vector<double> gate = product(gate_);
      const std::vector<double> up = product(up_);
      x.resize(gate.size());
      for (size_t i = 0; i < x.size(); ++i) x[i] = Rounded<T>(Activated(gate[i], up[i]));
      expect(outcome.act, x, "the activations");
      scale = 1;
      y = product(down_);
      for (int c = 0; c < hidden; ++c) h[c] += y[c];
      expect(outcome.hidden, h, "the hidden state");
      normed(norm2_);
      expect(outcome.x2, x, "the next node's input behind the down projection");
      if (head) {
        expect(outcome.logits, product(head_), "the logits");
        continue;
      }
      expect(outcome.q, Turned(product(query_), query_bias_, r, true), "the queries");
      expect(outcome.keys, Turned(product(key_), key_bias_, r, true), "the keys");
      expect(outcome.values, Turned(product(value_), value_bias_, r, false), "the values");
    }
  }

 private:
  struct Weights {
    explicit Weights(const Layer& layer)
        : out(layer.out_),
          gate(layer.gate_),
          up(layer.up_),
          down(layer.down_),
          query(layer.query_),
          key(layer.key_),
          value(layer.value_),
          head(layer.head_),
          norm1(layer.norm1_),
          norm2(layer.norm2_),
          query_bias(layer.query_bias_),
          key_bias(layer.key_bias_),
          value_bias(layer.value_bias_),
          out_bias(layer.out_bias_),
          rotary(layer.rotary_) {}
    const DeviceBuffer<T> out, gate, up, down, query, key, value, head;
    const DeviceBuffer<float> norm1, norm2, query_bias, key_bias, value_bias, out_bias;
    const DeviceBuffer<float2> rotary;
  };

  std::vector<double> Turned(std::vector<double> y, const std::vector<float>& bias, int row,
                             bool rotates) const {
    for (size_t i = 0; i < y.size(); ++i) y[i] += bias[i];
    for (size_t head = 0; rotates && head < y.size(); head += shape_.head_size) {
      Rotate(&rotary_[positions_[row] * (shape_.head_size / 2)], shape_.head_size, halves_, &y[head]);
    }
    return y;
  }

  const LayerShape shape_;
  const bool halves_;
  const int q_size_, kv_size_;
  std::vector<T> out_, gate_, up_, down_, query_, key_, value_, head_, context_;
  std::vector<float> norm1_, norm2_, hidden_, query_bias_, key_bias_, value_bias_, out_bias_;
  std::vector<float2> rotary_;
  std::vector<int32_t> positions_, table_;
  std::unique_ptr<Weights> device_;
};

// Whether `part` begins as `whole` does, bit by bit.
template <typename V>
bool Begins(const std::vector<V>& whole, const std::vector<V>& part) {
  return part.size() <= whole.size() && std::memcmp(whole.data(), part.data(), part.size() * sizeof(V)) == 0;
}
template <typename T>
void ExpectBegins(const Outcome<T>& whole, const Outcome<T>& part) {
  EXPECT_TRUE(Begins(whole.x1, part.x1)) << "x behind the output projection";
  EXPECT_TRUE(Begins(whole.act, part.act)) << "activations";
  EXPECT_TRUE(Begins(whole.hidden, part.hidden)) << "hidden state";
  EXPECT_TRUE(Begins(whole.x2, part.x2)) << "x behind the down projection";
  EXPECT_TRUE(Begins(whole.q, part.q)) << "queries";
  EXPECT_TRUE(Begins(whole.keys, part.keys)) << "keys";
  EXPECT_TRUE(Begins(whole.values, part.values)) << "values";
  EXPECT_TRUE(Begins(whole.logits, part.logits)) << "logits";
}

class WideLinear : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const cudaError_t error = PrepareWideKernels(&setup_);
    if (error == cudaErrorNotSupported) GTEST_SKIP() << "the device has no such kernels";
    ASSERT_CUDA(error);
    RecordProperty("clusters", setup_.clusters);
  }

  WideSetup setup_;
};

constexpr LayerShape kSmall{576, 9, 3, 64, 1536, 1001};
constexpr LayerShape kTiny{64, 4, 2, 16, 104, 67};
constexpr LayerShape kMiddle{2048, 32, 8, 64, 8192, 20515};
constexpr LayerShape kLarge{4096, 32, 8, 128, 14336, 259};

template <typename T>
void CheckAllRows(cudaStream_t stream, const WideSetup& setup, const LayerShape& shape, bool halves,
                  bool biases, const std::vector<int>& row_counts) {
  Layer<T> layer(shape, halves, biases);
  for (const int rows : row_counts) {
    for (const bool head : {false, true}) {
      SCOPED_TRACE(::testing::Message() << rows << " rows, " << (head ? "head" : "QKV"));
      std::vector<int> sampled;
      for (int r = 0; r<rows; r += rows> 16 ? 5 : 1) sampled.push_back(r);
      sampled.push_back(rows - 1);
      layer.Compare(layer.Run(stream, setup, rows, head, {}), sampled, head, kLayerBound<T>);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST_F(WideLinear, agrees_with_double_precision_for_few_and_many_rows) {
  CheckAllRows<__nv_bfloat16>(stream_, setup_, kSmall, false, true, {9, 16, 17, 31, 32, 48, 64});
  CheckAllRows<__half>(stream_, setup_, kSmall, true, false, {1, 8, 10, 15, 24, 33, 40, 57, 63});
}

TEST_F(WideLinear, agrees_where_blocks_have_no_columns_and_clusters_no_tile) {
  CheckAllRows<__nv_bfloat16>(stream_, setup_, kTiny, true, true, {9, 20, 64});
  CheckAllRows<__half>(stream_, setup_, kTiny, false, false, {3, 16, 47});
}

TEST_F(WideLinear, agrees_at_the_shapes_of_real_models) {
  {
    Layer<__nv_bfloat16> layer(kLarge, true, false);
    for (const bool head : {false, true}) {
      layer.Compare(layer.Run(stream_, setup_, 64, head, {}), {0, 37, 63}, head, kLayerBound<__nv_bfloat16>);
    }
    layer.Compare(layer.Run(stream_, setup_, 16, false, {}), {3, 15}, false, kLayerBound<__nv_bfloat16>);
  }
  Layer<__half> layer(kMiddle, false, true);
  for (const bool head : {false, true}) {
    layer.Compare(layer.Run(stream_, setup_, 33, head, {}), {0, 32}, head, kLayerBound<__half>);
  }
}

TEST_F(WideLinear, a_row_has_the_same_bits_whatever_is_beside_it) {
  Layer<__nv_bfloat16> layer(kMiddle, true, true);
  for (const bool head : {false, true}) {
    const Outcome<__nv_bfloat16> all = layer.Run(stream_, setup_, 64, head, {});
    for (const int rows : {1, 7, 9, 16, 17, 32, 50, 64}) {
      SCOPED_TRACE(::testing::Message() << rows << " rows");
      ExpectBegins(all, layer.Run(stream_, setup_, rows, head, {}));
    }
  }
}

TEST_F(WideLinear, results_do_not_depend_on_overlap_or_on_how_weights_are_brought) {
  Layer<__nv_bfloat16> layer(kMiddle, false, false);
  const Outcome<__nv_bfloat16> plain = layer.Run(stream_, setup_, 40, false, {});
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (const Options& options : {Options{true, false, 65536, 0}, Options{true, true, 32768, 0},
                                   Options{true, false, 1 << 20, 131072}, Options{true, true, 65536, 65536},
                                   Options{false, false, 1, 262144}}) {
      ExpectBegins(plain, layer.Run(stream_, setup_, 40, false, options));
    }
    WideSetup small = setup_;
    small.shared_bytes = 113 * 1024;
    ExpectBegins(layer.Run(stream_, small, 16, false, {true, true, 65536, 0}),
                 layer.Run(stream_, setup_, 16, false, {}));
  }
}

TEST_F(WideLinear, agrees_where_few_clusters_have_many_tiles_each) {
  setup_.clusters = 3;
  Layer<__half> layer(kSmall, true, true);
  for (const bool head : {false, true}) {
    for (const Options& options : {Options{}, Options{true, false, 65536, 98304}}) {
      layer.Compare(layer.Run(stream_, setup_, 64, head, options), {0, 30, 63}, head, kLayerBound<__half>);
    }
  }
}

TEST_F(WideLinear, rows_of_no_sequence_leave_the_cache_alone) {
  Layer<__nv_bfloat16> layer(kSmall, true, false);
  const Outcome<__nv_bfloat16> outcome = layer.Run(stream_, setup_, 12, false, {}, 11);
  const size_t width = outcome.keys.size() / 12;
  for (size_t i = 11 * width; i < 12 * width; ++i) {
    ASSERT_TRUE(std::isnan(ToFloat(outcome.keys[i])) && std::isnan(ToFloat(outcome.values[i])));
  }
  layer.Compare(outcome, {0, 10}, false, kLayerBound<__nv_bfloat16>);
}

TEST_F(WideLinear, says_what_it_cannot_do) {
  const DeviceBuffer<__half> weight(1024);
  WideNode node;
  node.node.kind = StreamKind::kHead;
  node.node.input = {weight.get(), 16, 64, nullptr, 0, 0};
  node.node.weight = weight.get();
  node.node.outputs = 16;
  EXPECT_TRUE(WideFits(setup_, ElementType::kF16, node));
  EXPECT_FALSE(WideFits(setup_, ElementType::kF32, node));
  WideNode many = node;
  many.node.input.rows = 65;
  EXPECT_FALSE(WideFits(setup_, ElementType::kF16, many));
  WideNode odd = node;
  odd.node.input.columns = 60;
  EXPECT_FALSE(WideFits(setup_, ElementType::kF16, odd));
  WideNode unaligned = node;
  unaligned.node.weight = weight.get() + 4;
  EXPECT_FALSE(WideFits(setup_, ElementType::kF16, unaligned));
}

}  // namespace
}  // namespace tessera::gpu

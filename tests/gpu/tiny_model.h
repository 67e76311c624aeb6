// A small random transformer for tests of the module: its weights on the host, and what it computes in double
// precision by plain loops over whole sequences. Knows nothing of the module.
#ifndef TESSERA_TESTS_GPU_TINY_MODEL_H_
#define TESSERA_TESTS_GPU_TINY_MODEL_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/gpu/gpu_test.h"

namespace tessera::gpu {

struct TinyShape {
  int32_t hidden = 128;
  int32_t feed_forward = 192;
  int32_t vocabulary = 500;
  int32_t layers = 2;
  int32_t heads = 4;
  int32_t kv_heads = 2;
  int32_t head_size = 64;
  int32_t rotary_dimensions = 64;
  bool halves = false;  // rotary pairs
  bool biases = false;
  int32_t window_tokens = 0;  // of every second layer, which are a cache group of their own then
};

// [rows, columns]; as doubles, rounded to the type that the device has.
struct TinyMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<double> values;
};

struct TinyLayer {
  std::vector<double> attention_norm, feed_forward_norm;
  TinyMatrix query, key, value, output, gate, up, down;
  std::vector<double> query_bias, key_bias, value_bias, output_bias;  // empty: none
};

inline double Rounded(double value, bool f16) {
  return f16 ? static_cast<double>(__half2float(__float2half_rn(static_cast<float>(value))))
             : static_cast<double>(__bfloat162float(__float2bfloat16_rn(static_cast<float>(value))));
}

class TinyModel {
 public:
  static constexpr double kEpsilon = 1e-5;

  TinyModel(const TinyShape& shape, bool f16, uint32_t seed) : shape_(shape), f16_(f16), random_(seed) {
    const int32_t query = shape.heads * shape.head_size;
    const int32_t key = shape.kv_heads * shape.head_size;
    embedding_ = Matrix(shape.vocabulary, shape.hidden, 1.0);
    head_ = Matrix(shape.vocabulary, shape.hidden, 1.0 / std::sqrt(shape.hidden));
    output_norm_ = Vector(shape.hidden, 1.0, 0.1);
    for (int32_t i = 0; i < shape.layers; ++i) {
      TinyLayer layer;
      layer.attention_norm = Vector(shape.hidden, 1.0, 0.1);
      layer.feed_forward_norm = Vector(shape.hidden, 1.0, 0.1);
      layer.query = Matrix(query, shape.hidden, 1.5 / std::sqrt(shape.hidden));
      layer.key = Matrix(key, shape.hidden, 1.5 / std::sqrt(shape.hidden));
      layer.value = Matrix(key, shape.hidden, 1.0 / std::sqrt(shape.hidden));
      layer.output = Matrix(shape.hidden, query, 1.0 / std::sqrt(query));
      layer.gate = Matrix(shape.feed_forward, shape.hidden, 1.0 / std::sqrt(shape.hidden));
      layer.up = Matrix(shape.feed_forward, shape.hidden, 1.0 / std::sqrt(shape.hidden));
      layer.down = Matrix(shape.hidden, shape.feed_forward, 1.0 / std::sqrt(shape.feed_forward));
      if (shape.biases) {
        layer.query_bias = Vector(query, 0.0, 0.5);
        layer.key_bias = Vector(key, 0.0, 0.5);
        layer.value_bias = Vector(key, 0.0, 0.5);
        layer.output_bias = Vector(shape.hidden, 0.0, 0.5);
      }
      layers_.push_back(std::move(layer));
    }
    for (int32_t i = 0; i < shape.rotary_dimensions / 2; ++i) {
      inverse_frequencies_.push_back(
          static_cast<float>(std::pow(10000.0, -2.0 * i / shape.rotary_dimensions)));
    }
  }

  const TinyShape& shape() const { return shape_; }
  bool f16() const { return f16_; }
  const std::vector<TinyLayer>& layers() const { return layers_; }
  const TinyMatrix& embedding() const { return embedding_; }
  const TinyMatrix& head() const { return head_; }
  const std::vector<double>& output_norm() const { return output_norm_; }
  const std::vector<float>& inverse_frequencies() const { return inverse_frequencies_; }
  int32_t WindowOf(int32_t layer) const { return layer % 2 == 1 ? shape_.window_tokens : 0; }

  // Logits behind each of the tokens from index `first` on.
  std::vector<std::vector<double>> Logits(const std::vector<int32_t>& tokens, size_t first) const {
    std::vector<std::vector<double>> hidden;
    for (const int32_t token : tokens) {
      const auto row = embedding_.values.begin() + static_cast<int64_t>(token) * shape_.hidden;
      hidden.emplace_back(row, row + shape_.hidden);
    }
    for (size_t i = 0; i < layers_.size(); ++i)
      RunLayer(layers_[i], WindowOf(static_cast<int32_t>(i)), &hidden);
    std::vector<std::vector<double>> logits;
    for (size_t i = first; i < hidden.size(); ++i) {
      logits.push_back(Multiply(head_, Norm(hidden[i], output_norm_), {}));
    }
    return logits;
  }

 private:
  TinyMatrix Matrix(int64_t rows, int64_t columns, double deviation) {
    TinyMatrix matrix = {rows, columns, {}};
    std::normal_distribution<double> normal(0.0, deviation);
    for (int64_t i = 0; i < rows * columns; ++i) matrix.values.push_back(Rounded(normal(random_), f16_));
    return matrix;
  }
  // F32.
  std::vector<double> Vector(int64_t size, double mean, double deviation) {
    std::normal_distribution<float> normal(static_cast<float>(mean), static_cast<float>(deviation));
    std::vector<double> values;
    for (int64_t i = 0; i < size; ++i) values.push_back(normal(random_));
    return values;
  }

  static std::vector<double> Norm(const std::vector<double>& x, const std::vector<double>& weight) {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + kEpsilon);
    std::vector<double> out(x.size());
    for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
    return out;
  }

  static std::vector<double> Multiply(const TinyMatrix& matrix, const std::vector<double>& x,
                                      const std::vector<double>& bias) {
    std::vector<double> out(static_cast<size_t>(matrix.rows));
    for (int64_t row = 0; row < matrix.rows; ++row) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(row)];
      for (int64_t i = 0; i < matrix.columns; ++i) {
        sum += matrix.values[static_cast<size_t>(row * matrix.columns + i)] * x[static_cast<size_t>(i)];
      }
      out[static_cast<size_t>(row)] = sum;
    }
    return out;
  }

  void Rotate(int64_t position, std::vector<double>* heads) const {
    const int32_t pairs = shape_.rotary_dimensions / 2;
    for (size_t head = 0; head < heads->size(); head += static_cast<size_t>(shape_.head_size)) {
      for (int32_t i = 0; i < pairs; ++i) {
        const double angle =
            static_cast<double>(position) * static_cast<double>(inverse_frequencies_[static_cast<size_t>(i)]);
        double& a = (*heads)[head + static_cast<size_t>(shape_.halves ? i : 2 * i)];
        double& b = (*heads)[head + static_cast<size_t>(shape_.halves ? i + pairs : 2 * i + 1)];
        const double first = a;
        a = first * std::cos(angle) - b * std::sin(angle);
        b = first * std::sin(angle) + b * std::cos(angle);
      }
    }
  }

  // One head's part of the context of the row at `position`.
  void Attend(const std::vector<double>& query, const std::vector<std::vector<double>>& keys,
              const std::vector<std::vector<double>>& values, int32_t head, int64_t position, int32_t window,
              std::vector<double>* context) const {
    const auto size = static_cast<size_t>(shape_.head_size);
    const size_t at = static_cast<size_t>(head) * size;
    const size_t kv_at = static_cast<size_t>(head / (shape_.heads / shape_.kv_heads)) * size;
    const int64_t first = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
    std::vector<double> scores;
    double largest = -1e300;
    for (int64_t p = first; p <= position; ++p) {
      double score = 0;
      for (size_t i = 0; i < size; ++i) score += query[at + i] * keys[static_cast<size_t>(p)][kv_at + i];
      scores.push_back(score / std::sqrt(static_cast<double>(shape_.head_size)));
      largest = std::max(largest, scores.back());
    }
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (int64_t p = first; p <= position; ++p) {
      const double weight = scores[static_cast<size_t>(p - first)] / sum;
      for (size_t i = 0; i < size; ++i)
        (*context)[at + i] += weight * values[static_cast<size_t>(p)][kv_at + i];
    }
  }

  void RunLayer(const TinyLayer& layer, int32_t window, std::vector<std::vector<double>>* hidden) const {
    std::vector<std::vector<double>> queries, keys, values;
    for (size_t p = 0; p < hidden->size(); ++p) {
      const std::vector<double> x = Norm((*hidden)[p], layer.attention_norm);
      queries.push_back(Multiply(layer.query, x, layer.query_bias));
      keys.push_back(Multiply(layer.key, x, layer.key_bias));
      values.push_back(Multiply(layer.value, x, layer.value_bias));
      Rotate(static_cast<int64_t>(p), &queries.back());
      Rotate(static_cast<int64_t>(p), &keys.back());
    }
    for (size_t p = 0; p < hidden->size(); ++p) {
      std::vector<double>& row = (*hidden)[p];
      std::vector<double> context(static_cast<size_t>(shape_.heads) * static_cast<size_t>(shape_.head_size));
      for (int32_t head = 0; head < shape_.heads; ++head) {
        Attend(queries[p], keys, values, head, static_cast<int64_t>(p), window, &context);
      }
      Add(Multiply(layer.output, context, layer.output_bias), &row);
      const std::vector<double> x = Norm(row, layer.feed_forward_norm);
      std::vector<double> gate = Multiply(layer.gate, x, {});
      const std::vector<double> up = Multiply(layer.up, x, {});
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
      Add(Multiply(layer.down, gate, {}), &row);
    }
  }

  static void Add(const std::vector<double>& term, std::vector<double>* sum) {
    for (size_t i = 0; i < term.size(); ++i) (*sum)[i] += term[i];
  }

  const TinyShape shape_;
  const bool f16_;
  std::mt19937 random_;
  TinyMatrix embedding_, head_;
  std::vector<double> output_norm_;
  std::vector<TinyLayer> layers_;
  std::vector<float> inverse_frequencies_;
};

}  // namespace tessera::gpu

#endif  // TESSERA_TESTS_GPU_TINY_MODEL_H_

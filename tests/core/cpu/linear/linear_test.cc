// The matrix kernels on every vector set of this processor: exactness against double precision, and results
// that do not depend on how the work was cut.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "core/cpu/kernels/linear/linear_call.h"
#include "hwy/targets.h"
#include "tests/core/cpu/linear/linear_inputs.h"

namespace tessera::cpu {
namespace {

constexpr float kPoison = -3.5e33f;
constexpr double kRounding = 2e-6;  // of the sum of magnitudes: float sums of some thousand products

void UseTargets(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);  // 0: what the processor has
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Calls test(vnni) for each vector set.
void ForEachTarget(const std::function<void(bool vnni)>& test) {
  for (int64_t left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    const int64_t target = left & -left;
    if (target == HWY_SSSE3 || target == HWY_AVX3_DL) continue;  // not compiled
    for (bool vnni : {false, true}) {
      if (vnni && !(target == HWY_AVX3 && HasVnni())) continue;
      SCOPED_TRACE(std::string(hwy::TargetName(target)) + (vnni ? " with VNNI" : ""));
      UseTargets(target);
      test(vnni);
      UseTargets(0);
    }
  }
}

// One product: weights, activations, and what Linear made of them.
struct Product {
  ActivationMode mode = ActivationMode::kInt8;
  TensorType type = TensorType::kF32;
  int64_t rows = 0, columns = 0, row_count = 0;
  std::vector<uint8_t> source, packed, prepared;
  std::vector<float> x, bias;

  Product(LinearInputs& inputs, ActivationMode wanted, TensorType type_, int64_t rows_, int64_t columns_,
          int64_t row_count_)
      : mode(ModeFor(wanted, type_)), type(type_), rows(rows_), columns(columns_), row_count(row_count_) {
    source = inputs.Weights(type, rows, columns);
    packed = Packed(type, rows, columns, source);
    x = inputs.Floats(row_count * columns);
    prepared = Prepared(mode, columns, row_count, x.data());
    bias = inputs.Floats(rows);
  }

  LinearCall Call(bool vnni) const {
    LinearCall call = {};
    call.mode = mode;
    call.type = type;
    call.packed = packed.data();
    call.rows = rows;
    call.columns = columns;
    call.tile_begin = 0;
    call.tile_end = LinearTiles(rows);
    call.prepared = prepared.data();
    call.prepared_stride_bytes = PreparedRowBytes(mode, columns);
    call.row_count = row_count;
    call.out_stride = rows;
    call.vnni = vnni;
    return call;
  }

  // All of it in one call: [row_count, rows].
  std::vector<float> Run(bool vnni) const {
    std::vector<float> out(static_cast<size_t>(row_count * rows), kPoison);
    LinearCall call = Call(vnni);
    call.out = out.data();
    LinearDispatch(call);
    return out;
  }

  std::string Name() const { return Describe(mode, type, rows, columns, row_count); }
};

std::vector<int64_t> SomeColumns(TensorType type) {
  const int64_t block = InfoOf(type).block_elements;
  if (block == 1) return {1, 3, 64, 131, 512};
  return {block, 3 * block, 1536 / block * block};
}

TEST(Linear, AgreesWithDoublePrecisionOnTheSameActivations) {
  LinearInputs inputs(11);
  double worst = 0;
  for (TensorType type : kAllTypes) {
    for (ActivationMode wanted : {ActivationMode::kInt8, ActivationMode::kF32}) {
      if (ModeFor(wanted, type) != wanted) continue;
      for (int64_t columns : SomeColumns(type)) {
        const Product product(inputs, wanted, type, inputs.Integer(1, 100), columns, inputs.Integer(1, 17));
        std::vector<double> expected(static_cast<size_t>(product.row_count * product.rows));
        std::vector<double> magnitude(expected.size());
        LinearReference(product.mode, type, product.source.data(), product.rows, columns, product.x.data(),
                        product.row_count, nullptr, expected.data(), magnitude.data());
        ForEachTarget([&](bool vnni) {
          const std::vector<float> out = product.Run(vnni);
          for (size_t i = 0; i < out.size(); ++i) {
            ASSERT_LE(std::fabs(out[i] - expected[i]), kRounding * magnitude[i] + 1e-30)
                << product.Name() << " at " << i;
            worst = std::fmax(worst, std::fabs(out[i] - expected[i]) / (magnitude[i] + 1e-30));
          }
        });
      }
    }
  }
  RecordProperty("worst_error_in_millionths", static_cast<int>(worst * 1e6));
}

TEST(Linear, Int8ActivationsErrByAtMostHalfAStepEach) {
  LinearInputs inputs(12);
  for (TensorType type :
       {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K, TensorType::kQ6_K}) {
    const int64_t columns = 2048, rows = 48, batch = 5;
    const Product product(inputs, ActivationMode::kInt8, type, rows, columns, batch);
    std::vector<double> exact(rows * batch), magnitude(rows * batch);
    LinearReference(ActivationMode::kF32, type, product.source.data(), rows, columns, product.x.data(), batch,
                    nullptr, exact.data(), magnitude.data());
    const std::vector<float> out = product.Run(HasVnni());
    std::vector<float> w(columns);
    for (int64_t n = 0; n < rows; ++n) {
      DequantizeReference(type, product.source.data() + n * RowBytes(type, columns), columns, w.data());
      for (int64_t r = 0; r < batch; ++r) {
        double bound = 0;
        for (int64_t begin = 0; begin < columns; begin += 32) {
          double amax = 0, weights = 0;
          for (int64_t k = begin; k < begin + 32; ++k) {
            amax = std::fmax(amax, std::fabs(product.x[r * columns + k]));
            weights += std::fabs(w[k]);
          }
          bound += 0.5001 * amax / 127 * weights;
        }
        const double error = std::fabs(out[r * rows + n] - exact[r * rows + n]);
        ASSERT_LE(error, bound + kRounding * magnitude[r * rows + n]) << product.Name();
      }
    }
  }
}

TEST(Linear, ResultsDoNotDependOnTheBatchBitForBit) {
  LinearInputs inputs(13);
  for (TensorType type : kAllTypes) {
    for (ActivationMode wanted : {ActivationMode::kInt8, ActivationMode::kF32}) {
      if (ModeFor(wanted, type) != wanted) continue;
      const Product product(inputs, wanted, type, 70, 768, 64);
      ForEachTarget([&](bool vnni) {
        const std::vector<float> whole = product.Run(vnni);
        for (int64_t batch = 1; batch <= 17; ++batch) {
          const int64_t first = inputs.Integer(0, 64 - batch);
          std::vector<float> out(static_cast<size_t>(batch * 70), kPoison);
          LinearCall call = product.Call(vnni);
          call.prepared += static_cast<size_t>(first) * call.prepared_stride_bytes;
          call.row_count = batch;
          call.out = out.data();
          LinearDispatch(call);
          ASSERT_EQ(std::memcmp(out.data(), whole.data() + first * 70, out.size() * sizeof(float)), 0)
              << product.Name() << ", rows " << first << " and " << batch << " more";
        }
      });
    }
  }
}

TEST(Linear, ResultsDoNotDependOnTheRangeOfTilesAndNothingElseIsWritten) {
  LinearInputs inputs(14);
  for (TensorType type : kAllTypes) {
    for (ActivationMode wanted : {ActivationMode::kInt8, ActivationMode::kF32}) {
      if (ModeFor(wanted, type) != wanted) continue;
      const int64_t rows = 16 * 6 + 3, stride = rows + 9;
      const Product product(inputs, wanted, type, rows, 512, 7);
      ForEachTarget([&](bool vnni) {
        const std::vector<float> whole = product.Run(vnni);
        const int64_t cuts[] = {0, 1, 1, 4, 6, 7};
        for (int i = 0; i + 1 < 6; ++i) {
          std::vector<float> out(static_cast<size_t>(7 * stride), kPoison);
          LinearCall call = product.Call(vnni);
          call.tile_begin = cuts[i];
          call.tile_end = cuts[i + 1];
          call.out = out.data();
          call.out_stride = stride;
          LinearDispatch(call);
          for (int64_t r = 0; r < 7; ++r) {
            for (int64_t n = 0; n < stride; ++n) {
              const bool inside = n < rows && n / kPackRows >= cuts[i] && n / kPackRows < cuts[i + 1];
              ASSERT_EQ(out[r * stride + n], inside ? whole[r * rows + n] : kPoison)
                  << product.Name() << " row " << r << " output " << n;
            }
          }
        }
      });
    }
  }
}

TEST(Linear, AddsTheBiasThenWhatWasThere) {
  LinearInputs inputs(15);
  for (TensorType type : kAllTypes) {
    const Product product(inputs, ActivationMode::kInt8, type, 37, 256, 9);
    const std::vector<float> before = inputs.Floats(37 * 9);
    ForEachTarget([&](bool vnni) {
      const std::vector<float> plain = product.Run(vnni);
      for (bool with_bias : {false, true}) {
        for (bool accumulate : {false, true}) {
          std::vector<float> out = before;
          LinearCall call = product.Call(vnni);
          call.bias = with_bias ? product.bias.data() : nullptr;
          call.accumulate = accumulate;
          call.out = out.data();
          LinearDispatch(call);
          for (size_t i = 0; i < out.size(); ++i) {
            const float value = with_bias ? plain[i] + product.bias[i % 37] : plain[i];
            ASSERT_EQ(out[i], accumulate ? before[i] + value : value) << product.Name() << " at " << i;
          }
        }
      }
    });
  }
}

TEST(Linear, LongRowsAndLargeBatchesAgreeWithDoublePrecision) {
  LinearInputs inputs(16);
  for (TensorType type : kAllTypes) {
    for (ActivationMode wanted : {ActivationMode::kInt8, ActivationMode::kF32}) {
      if (ModeFor(wanted, type) != wanted) continue;
      const Product product(inputs, wanted, type, 35, 8192, 67);
      std::vector<double> expected(35 * 67), magnitude(35 * 67);
      LinearReference(product.mode, type, product.source.data(), 35, 8192, product.x.data(), 67,
                      product.bias.data(), expected.data(), magnitude.data());
      std::vector<float> out(35 * 67, kPoison);
      Linear(product.mode, type, product.packed.data(), 35, 8192, 0, 3, product.prepared.data(),
             PreparedRowBytes(product.mode, 8192), 67, product.bias.data(), false, out.data(), 35);
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_LE(std::fabs(out[i] - expected[i]), kRounding * magnitude[i]) << product.Name() << " at " << i;
      }
    }
  }
}

// Every integer at its end: the int16 and int32 sums inside must not overflow.
TEST(Linear, ExtremeIntegersAreExact) {
  const int64_t rows = 16, columns = 256;
  for (TensorType type :
       {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K, TensorType::kQ6_K}) {
    for (int fill : {0x00, 0x80, 0x7f, 0xff, 0x81}) {
      for (int sign_pattern : {0, 1, 2, 3}) {
        LinearInputs inputs(17);
        Product product(inputs, ActivationMode::kInt8, type, rows, columns, 5);
        const uint32_t block_bytes = InfoOf(type).block_bytes;
        const uint16_t one = 0x3c00;
        for (size_t at = 0; at < product.source.size(); at += block_bytes) {
          uint8_t* block = product.source.data() + at;
          std::memset(block, fill, block_bytes);
          std::memcpy(type == TensorType::kQ6_K ? block + 208 : block, &one, 2);
          if (type == TensorType::kQ4_1 || type == TensorType::kQ4_K) std::memcpy(block + 2, &one, 2);
        }
        product.packed = Packed(type, rows, columns, product.source);
        for (size_t k = 0; k < product.x.size(); ++k) {
          const bool negative =
              sign_pattern == 1 || (sign_pattern == 2 && k % 2 == 1) || (sign_pattern == 3 && k % 4 > 1);
          product.x[k] = negative ? -127.0f : 127.0f;
        }
        product.prepared = Prepared(product.mode, columns, 5, product.x.data());
        std::vector<double> expected(rows * 5);
        LinearReference(product.mode, type, product.source.data(), rows, columns, product.x.data(), 5,
                        nullptr, expected.data(), nullptr);
        ForEachTarget([&](bool vnni) {
          const std::vector<float> out = product.Run(vnni);
          for (size_t i = 0; i < out.size(); ++i) {
            ASSERT_NEAR(out[i], expected[i], 1e-6 * std::fabs(expected[i]))
                << product.Name() << " fill " << fill;
          }
        });
      }
    }
  }
}

TEST(Linear, ScalesThatAreNotFiniteSpoilOnlyTheirOutputs) {
  LinearInputs inputs(18);
  for (TensorType type :
       {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K, TensorType::kQ6_K}) {
    for (ActivationMode mode : {ActivationMode::kInt8, ActivationMode::kF32}) {
      for (uint16_t bits : {0x7e00, 0x7c00, 0xfc00}) {
        Product product(inputs, mode, type, 32, 256, 3);
        const std::vector<uint8_t> clean = product.packed;
        const size_t at = 5 * RowBytes(type, 256) + (type == TensorType::kQ6_K ? 208 : 0);
        std::memcpy(product.source.data() + at, &bits, 2);
        product.packed = Packed(type, 32, 256, product.source);
        ForEachTarget([&](bool vnni) {
          const std::vector<float> out = product.Run(vnni);
          for (int64_t i = 0; i < 32 * 3; ++i)
            ASSERT_EQ(std::isfinite(out[i]), i % 32 != 5) << product.Name();
        });
      }
    }
  }
}

TEST(Linear, ActivationsThatAreNotFiniteMakeTheirRowNaNAndNoOther) {
  LinearInputs inputs(19);
  for (TensorType type : kAllTypes) {
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Product product(inputs, ActivationMode::kInt8, type, 32, 256, 5);
      product.x[2 * 256 + 100] = bad;
      product.prepared = Prepared(product.mode, 256, 5, product.x.data());
      ForEachTarget([&](bool vnni) {
        const std::vector<float> out = product.Run(vnni);
        for (int64_t i = 0; i < 32 * 5; ++i) ASSERT_EQ(std::isfinite(out[i]), i / 32 != 2) << product.Name();
      });
    }
  }
}

TEST(Linear, EmptyWorkWritesNothing) {
  LinearInputs inputs(20);
  const Product product(inputs, ActivationMode::kInt8, TensorType::kQ4_1, 32, 64, 2);
  std::vector<float> out(64, kPoison);
  LinearCall call = product.Call(false);
  call.out = out.data();
  call.tile_end = 0;
  LinearDispatch(call);
  call.tile_end = 2;
  call.row_count = 0;
  LinearDispatch(call);
  for (float value : out) EXPECT_EQ(value, kPoison);
}

}  // namespace
}  // namespace tessera::cpu

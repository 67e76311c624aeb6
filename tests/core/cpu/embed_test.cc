#include "core/cpu/kernels/embed/embed.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/cpu/kernels/embed/embed_reference.h"
#include "core/cpu/kernels/linear/linear.h"
#include "tests/core/cpu/random_values.h"
#include "tests/doubles/quantise.h"

namespace tessera {
namespace {

TEST(Embed, GathersTheNamedRowsExactlyForEveryType) {
  const int64_t vocabulary = 37;  // its last tile is not full
  const int64_t columns = 512;
  const std::vector<int32_t> tokens = {36, 0, 17, 17, 5};
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kQ4_0,
                                TensorType::kQ4_1, TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kQ6_K}) {
    const std::vector<float> table = RandomFloats(vocabulary * columns, 11);
    const std::vector<uint8_t> source = Quantize(type, table.data(), vocabulary * columns);
    std::vector<uint8_t> packed(cpu::PackedLinearBytes(type, vocabulary, columns));
    cpu::PackLinear(type, vocabulary, columns, 0, vocabulary, source.data(), packed.data());
    std::vector<float> expected = Poisoned(5 * columns);
    cpu::EmbedReference(type, source.data(), columns, tokens.data(), 5, expected.data());

    std::vector<float> out = Poisoned(5 * columns);
    cpu::Embed(type, packed.data(), vocabulary, columns, tokens.data(), 5, out.data());

    EXPECT_EQ(out, expected) << InfoOf(type).name;
  }
}

}  // namespace
}  // namespace tessera

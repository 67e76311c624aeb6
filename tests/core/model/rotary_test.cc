// Rotary frequencies from metadata, against the transformers package and against their definitions.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "core/model/model_spec.h"
#include "tests/doubles/tiny_model.h"

namespace tessera {
namespace {

RotarySpec RotaryOf(const std::vector<uint8_t>& bytes) {
  auto file = GgufFile::Read(FileOf(bytes));
  EXPECT_TRUE(file.ok()) << file.status();
  auto spec = ReadModelSpec(**file);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? spec->rotary : RotarySpec();
}

TEST(Rotary, FrequenciesAndMagnitudeAgreeWithTransformers) {
  std::ifstream golden(TESSERA_GOLDENS "/rotary_frequencies.txt");
  ASSERT_TRUE(golden.is_open());
  int cases = 0;
  for (std::string line; std::getline(golden, line); ++cases) {
    SCOPED_TRACE(line.substr(0, 40));
    std::istringstream fields(line);
    std::string scaling, number;
    TinyModelOptions options;
    float factor = 1;
    int32_t original = 0;
    fields >> scaling >> options.head_size >> options.frequency_base >> factor >> original >> number;
    const double magnitude = std::strtod(number.c_str(), nullptr);
    if (scaling != "default") {
      options.rope_scaling = scaling;
      options.rope_factor = factor;
      options.rope_original_context = original;
    }
    options.context_tokens = static_cast<int32_t>(static_cast<float>(original) * factor);
    const RotarySpec rotary = RotaryOf(MakeTinyModel(options));
    ASSERT_EQ(rotary.inverse_frequencies.size(), static_cast<size_t>(options.head_size / 2));
    EXPECT_NEAR(rotary.magnitude, magnitude, 1e-6);
    for (const float found : rotary.inverse_frequencies) {
      fields >> number;
      const double expected = std::strtod(number.c_str(), nullptr);
      // Their powers are float32 ones, which are a few units in the last place off.
      EXPECT_NEAR(found, expected, expected * 2e-6);
    }
  }
  EXPECT_EQ(cases, 5);
}

TEST(Rotary, FactorsTensorDividesTheFrequencies) {
  TinyModelOptions options;
  const RotarySpec plain = RotaryOf(MakeTinyModel(options));
  options.rope_factors_tensor = true;
  const TinyModel model = BuildTinyModel(options);
  const RotarySpec divided = RotaryOf(model.bytes);
  const std::vector<float>& factors = model.tensors.at("rope_freqs.weight").values;
  ASSERT_EQ(divided.inverse_frequencies.size(), factors.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    EXPECT_FLOAT_EQ(divided.inverse_frequencies[i], plain.inverse_frequencies[i] / factors[i]);
  }
}

TEST(Rotary, OldLinearKeyMeansTheSameAsTheNewOne) {
  TinyModelOptions options;
  GgufWriter old = BuildTinyModel(options).writer;
  old.Float32("llama.rope.scale_linear", 2);
  options.rope_factor = 2;  // without a type, as older converters wrote it
  const RotarySpec expected = RotaryOf(MakeTinyModel(options)), found = RotaryOf(old.Build());
  EXPECT_EQ(found.inverse_frequencies, expected.inverse_frequencies);
  EXPECT_FLOAT_EQ(found.inverse_frequencies[0], 0.5f);
}

TEST(Rotary, TypeNoneIgnoresAFactor) {
  TinyModelOptions options;
  options.rope_scaling = "none";
  options.rope_factor = 8;
  EXPECT_EQ(RotaryOf(MakeTinyModel(options)).inverse_frequencies[0], 1.0f);
}

TEST(Rotary, AttentionFactorScalesTheMagnitude) {
  TinyModelOptions options;
  options.rope_scaling = "yarn";
  options.rope_factor = 4;
  GgufWriter writer = BuildTinyModel(options).writer;
  writer.Float32("llama.rope.scaling.attn_factor", 0.5f);
  EXPECT_NEAR(RotaryOf(writer.Build()).magnitude, 0.5 * (1 + 0.1 * std::log(4.0)), 1e-6);
}

TEST(Rotary, PartOfAHeadMayRotate) {
  TinyModelOptions options;
  options.rotary_dimensions = 8;
  const RotarySpec rotary = RotaryOf(MakeTinyModel(options));
  EXPECT_EQ(rotary.dimensions, 8);
  ASSERT_EQ(rotary.inverse_frequencies.size(), 4u);
  EXPECT_FLOAT_EQ(rotary.inverse_frequencies[2], 1e-2f);  // 10000^(-4/8)
}

TEST(Rotary, FamiliesPairElementsInTheirOwnWay) {
  EXPECT_EQ(RotaryOf(MakeTinyModel()).pairing, RotaryPairing::kInterleaved);
  EXPECT_EQ(RotaryOf(MakeTinyModel(TinyQwen2Options())).pairing, RotaryPairing::kHalves);
}

}  // namespace
}  // namespace tessera

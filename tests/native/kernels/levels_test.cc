// Weights as integers: exact where promised, within the named bound elsewhere.
#include "kernels/conv2d/levels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "conv_case.h"

namespace tfc {
namespace {

ConvCase WithCodebook(const std::vector<float>& codebook, int ins = 9) {
  ConvCase c;
  c.ins = ins;
  c.num_bits = 8;
  c.codebook = codebook;
  c.symbols.assign(ins, 0);
  c.scale.assign(1, 1.0f);
  return c;
}

void ExpectWithinBound(const ConvCase& c, int resolution) {
  Levels levels;
  ASSERT_TRUE(MakeLevels(c.view(), &levels));
  EXPECT_EQ(levels.resolution, resolution);
  const float low = std::min(0.0f, c.codebook.front());
  const float high = std::max(0.0f, c.codebook.back());
  const double bound = (double{high} - low) / (2.0 * levels.resolution);
  for (size_t s = 0; s < c.codebook.size(); ++s) {
    const int level = levels.level[s] - levels.zero;
    EXPECT_NEAR(double{levels.scale[0]} * level, c.codebook[s],
                bound * (1 + 1e-4));
    if (c.codebook[s] == 0.0f) {
      EXPECT_EQ(level, 0);
    }
  }
}

void ExpectExact(const std::vector<float>& codebook, int max_level) {
  const ConvCase c = WithCodebook(codebook);
  Levels levels;
  ASSERT_TRUE(MakeLevels(c.view(), &levels));
  EXPECT_EQ(levels.resolution, 0);
  EXPECT_EQ(levels.max_level, max_level);
  for (size_t s = 0; s < codebook.size(); ++s) {
    EXPECT_FLOAT_EQ(levels.scale[0] * (levels.level[s] - levels.zero),
                    codebook[s]);
  }
}

TEST(Levels, UniformIsExact) {
  for (int bits = 1; bits <= 8; ++bits) {
    ConvCase c = WithCodebook({});
    c.num_bits = bits;
    Levels levels;
    ASSERT_TRUE(MakeLevels(c.view(), &levels));
    EXPECT_EQ(levels.zero, 1 << (bits - 1));
    EXPECT_EQ(levels.max_level, (1 << bits) - 1);
    EXPECT_EQ(levels.level[levels.max_level], levels.max_level);
  }
}

TEST(Levels, CodebooksOnAGridAreExact) {
  ExpectExact({0.0f}, 0);
  ExpectExact({0.3f}, 1);
  ExpectExact({-0.3f}, 0);
  ExpectExact({-0.7f, 0.7f}, 2);
  ExpectExact({-0.1f, 0.0f, 0.1f}, 2);
  ExpectExact({-0.5f, -0.25f, 0.0f, 0.25f, 0.5f, 1.0f}, 6);
  ExpectExact({-3e38f, 0.0f, 3e38f}, 2);
}

std::vector<float> PowersOfTwo(int num_bits) {
  std::vector<float> levels;
  for (int d = -(1 << (num_bits - 1)); d < 1 << (num_bits - 1); ++d) {
    levels.push_back(d == 0 ? 0.0f
                            : std::copysign(std::ldexp(1.0f, std::abs(d) - 1),
                                            static_cast<float>(d)));
  }
  return levels;
}

TEST(Levels, PowersOfTwoAreExactWhileTheirRangeFits) {
  ExpectExact(PowersOfTwo(3), 12);   // -8 ... 4
  ExpectExact(PowersOfTwo(4), 192);  // -128 ... 64
  ExpectExact({-200.0f, -3.0f, 0.0f, 1.0f, 823.0f}, 1023);
  ExpectWithinBound(WithCodebook({-200.0f, -3.0f, 0.0f, 1.0f, 824.0f}),
                    kPaletteResolution);
  ExpectWithinBound(WithCodebook(PowersOfTwo(5)), kByteResolution);
  ExpectWithinBound(WithCodebook(PowersOfTwo(6)), kByteResolution);
}

TEST(Levels, PalettesKeepTheirBound) {
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    ConvCase c = WithCodebook({});
    c.RandomCodebook(random, Uniform(random, 5, 16));
    ExpectWithinBound(c, kPaletteResolution);
    c.RandomCodebook(random, Uniform(random, 17, 256));
    ExpectWithinBound(c, kByteResolution);
  }
}

TEST(Levels, PalettesWithoutZeroKeepTheirBound) {
  ExpectWithinBound(WithCodebook({0.3f, 0.71f, 1.234f, 1.91f}),
                    kPaletteResolution);
  ExpectWithinBound(WithCodebook({-1.9f, -1.21f, -0.734f, -0.17f}),
                    kPaletteResolution);
}

TEST(Levels, DeepSumsLowerTheResolution) {
  Random random(2);
  ConvCase c = WithCodebook({}, 40000);
  c.RandomCodebook(random, 16);
  ExpectWithinBound(c, 421);  // (2^31 - 1) / (127 * 40000) - 1
}

TEST(Levels, RefusesWhatCouldLeaveInt32) {
  ConvCase c = WithCodebook({}, 132104);
  Levels fits;
  EXPECT_TRUE(MakeLevels(c.view(), &fits));  // 128 * 127 * 132104 < 2^31
  c.ins = 132105;
  Levels overflows;
  EXPECT_FALSE(MakeLevels(c.view(), &overflows));
  // Zeros alone never add up, but a row of them still has to fit.
  ConvCase zeros = WithCodebook({0.0f});
  zeros.ins = 1 << 25;
  Levels long_row;
  EXPECT_FALSE(MakeLevels(zeros.view(), &long_row));
}

}  // namespace
}  // namespace tfc

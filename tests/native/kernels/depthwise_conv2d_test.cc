// Every depthwise kernel gives the bits of the reference, and the reference is
// the convolution it says it is.
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "conv_case.h"
#include "kernels/depthwise_conv2d/kernel.h"

namespace tfc {
namespace {

struct DepthwiseCase : ConvCase {
  int multiplier = 1;

  void Channels(int channels, int times) {
    ins = channels;
    multiplier = times;
    outs = channels * times;
  }

  WeightsView weights() const {
    WeightsView v = view();
    v.in_channels = 1;
    return v;
  }
};

std::vector<float> ExpectAllEqual(const DepthwiseCase& c, Guard guard) {
  Levels levels;
  EXPECT_TRUE(MakeLevels(c.weights(), &levels));
  const std::vector<float> want =
      c.Run(*CreateDepthwiseRef(c.weights(), c.multiplier, levels), guard);
  for (const DepthwiseKernel* kernel : DepthwiseKernels()) {
    if (!kernel->available()) continue;
    if (!Accepts(*kernel, c.weights(), levels, kLargestCode)) continue;
    const auto conv =
        CreatePackedDepthwise(*kernel, c.weights(), c.multiplier, levels);
    EXPECT_TRUE(SameBits(c.Run(*conv, guard), want))
        << kernel->name << " channels " << c.ins << " x " << c.multiplier
        << " kernel " << c.kernel_height << "x" << c.kernel_width << " bits "
        << c.num_bits << " codebook " << c.codebook.size() << " batch "
        << c.geometry.batch << " in " << c.geometry.in_height << "x"
        << c.geometry.in_width << " stride " << c.geometry.stride_height
        << " dilation " << c.geometry.dilation_height;
  }
  return want;
}

TEST(DepthwiseKernels, EqualRefAtAwkwardSizes) {
  Random random(1);
  for (const int channels : kAwkward) {
    for (const int bits : {1, 2, 4, 8}) {
      for (const int width : {1, 3, 4, 7, 8, 17}) {
        DepthwiseCase c;
        c.Channels(channels, channels < 64 ? Uniform(random, 1, 3) : 1);
        c.kernel_height = c.kernel_width = 3;
        c.num_bits = bits;
        if (Uniform(random, 0, 1)) c.RandomCodebook(random, 1 << bits);
        ASSERT_TRUE(c.Spatial(2, 5, width, Uniform(random, 1, 2), 1, true));
        c.RandomData(random);
        ExpectAllEqual(c, width % 2 ? Guard::kAfter : Guard::kBefore);
      }
    }
  }
}

TEST(DepthwiseKernels, EqualRefAtRandomShapes) {
  Random random(2);
  for (const Width& width : kWidths) {
    for (int i = 0; i < Shapes(120); ++i) {
      DepthwiseCase c;
      c.Channels(Uniform(random, 1, 40), Uniform(random, 1, 3));
      c.kernel_height = Uniform(random, 1, 5);
      c.kernel_width = Uniform(random, 1, 5);
      c.SetWidth(width, random);
      if (!c.Spatial(Uniform(random, 1, 3), Uniform(random, 1, 9),
                     Uniform(random, 1, 9), Uniform(random, 1, 3),
                     Uniform(random, 1, 3), Uniform(random, 0, 1) == 0)) {
        continue;
      }
      c.RandomData(random);
      ExpectAllEqual(c, i % 2 ? Guard::kAfter : Guard::kBefore);
    }
  }
}

TEST(DepthwiseKernels, NoOverflowAtExtremes) {
  Random random(3);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const bool palette : {false, true}) {
      for (const int kernel : {1, 2, 3, 7, 15}) {
        DepthwiseCase c;
        c.Channels(17, 1);
        c.kernel_height = c.kernel_width = kernel;
        c.num_bits = bits;
        if (palette) c.RandomCodebook(random, 1 << bits);
        ASSERT_TRUE(c.Spatial(1, kernel, kernel + 4, 1, 1, false));
        c.RandomData(random);
        for (const int symbol : {0, c.num_symbols() - 1}) {
          c.symbols.assign(c.symbols.size(), static_cast<uint8_t>(symbol));
          for (float& v : c.x) v = 1.0f;
          ExpectAllEqual(c, Guard::kAfter);
          for (float& v : c.x) v = Uniform(random, 0, 1) ? -1.0f : 1.0f;
          ExpectAllEqual(c, Guard::kAfter);
        }
      }
    }
  }
}

TEST(DepthwiseRef, IsTheConvolutionOfQuantizedActivations) {
  Random random(4);
  for (int i = 0; i < 100; ++i) {
    DepthwiseCase c;
    c.Channels(Uniform(random, 1, 9), Uniform(random, 1, 2));
    c.kernel_height = Uniform(random, 1, 3);
    c.kernel_width = Uniform(random, 1, 3);
    c.num_bits = Uniform(random, 1, 8);
    if (!c.Spatial(2, 6, 7, Uniform(random, 1, 2), Uniform(random, 1, 2),
                   Uniform(random, 0, 1) == 0)) {
      continue;
    }
    c.RandomData(random);
    c.RoundActivations();
    const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
    const std::vector<float> want =
        c.Run(*CreateDepthwiseFloat(c.weights(), c.multiplier), Guard::kAfter);
    float largest = 1.0f;
    for (const float v : want) largest = std::max(largest, std::fabs(v));
    for (size_t k = 0; k < want.size(); ++k) {
      ASSERT_NEAR(got[k], want[k], 1e-5f * largest) << "case " << i;
    }
  }
}

// A depthwise convolution is a convolution whose other weights are 0.
TEST(DepthwiseRef, EqualsAConvolutionOfZerosElsewhere) {
  Random random(5);
  for (int i = 0; i < 50; ++i) {
    DepthwiseCase c;
    c.Channels(Uniform(random, 1, 7), Uniform(random, 1, 2));
    c.kernel_height = Uniform(random, 1, 3);
    c.kernel_width = Uniform(random, 1, 3);
    ASSERT_TRUE(c.Spatial(2, 5, 6, Uniform(random, 1, 2), 1, true));
    c.RandomData(random);
    ConvCase full = c;
    const int taps = c.kernel_height * c.kernel_width;
    full.symbols.assign(full.symbols.size(), 8);  // code 0
    for (int o = 0; o < c.outs; ++o) {
      for (int t = 0; t < taps; ++t) {
        full.symbols[(size_t{1} * o * taps + t) * c.ins + o / c.multiplier] =
            c.symbols[size_t{1} * t * c.outs + o];
      }
    }
    Levels levels;
    ASSERT_TRUE(MakeLevels(full.view(), &levels));
    EXPECT_TRUE(
        SameBits(full.Run(*CreateRef(full.view(), levels), Guard::kAfter),
                 ExpectAllEqual(c, Guard::kAfter)));
  }
}

TEST(DepthwiseKernels, NanAndInfinityReachTheirImageOnly) {
  Random random(6);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    for (const int channels : {1, 8, 24, 33}) {
      DepthwiseCase c;
      c.Channels(channels, 1);
      c.kernel_height = c.kernel_width = 3;
      ASSERT_TRUE(c.Spatial(3, 4, 5, 1, 1, true));
      c.RandomData(random);
      const std::vector<float> clean = ExpectAllEqual(c, Guard::kAfter);
      c.x[c.image() + Uniform(random, 0, c.image() - 1)] = value;
      const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
      ASSERT_NO_FATAL_FAILURE(ExpectNanInSecondOfThree(got, clean));
    }
  }
}

TEST(DepthwiseKernels, ZeroAndTinyImagesGiveTheBias) {
  Random random(7);
  for (const float value : {0.0f, -0.0f, 1e-40f, 1e-37f}) {
    DepthwiseCase c;
    c.Channels(9, 1);
    c.kernel_height = c.kernel_width = 3;
    ASSERT_TRUE(c.Spatial(2, 3, 3, 1, 1, true));
    c.RandomData(random);
    c.activation = Activation::kNone;
    c.bias.assign(9, 0.75f);
    c.x.assign(c.x.size(), value);
    for (const float y : ExpectAllEqual(c, Guard::kAfter)) EXPECT_EQ(y, 0.75f);
  }
}

TEST(DepthwiseCreate, ChoosesByArithmeticAndCpu) {
  Random random(8);
  DepthwiseCase c;
  c.Channels(8, 1);
  ASSERT_TRUE(c.Spatial(1, 2, 2, 1, 1, true));
  c.RandomData(random);
  const auto name = [&c](Arithmetic arithmetic, bool use_ref) {
    return std::string(
        CreateDepthwiseConv2D(c.weights(), 1, arithmetic, use_ref)
            ->KernelName());
  };
  EXPECT_EQ(name(Arithmetic::kFloat, false), "depthwise_conv2d_float_ref");
  EXPECT_EQ(name(Arithmetic::kInt8, true), "depthwise_conv2d_ref");
#ifdef TFC_X86_64
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP();
  EXPECT_EQ(name(Arithmetic::kInt8, false), "depthwise_conv2d_s16_avx2_7x16");
  c.num_bits = 8;
  EXPECT_EQ(name(Arithmetic::kInt8, false), "depthwise_conv2d_s16_avx2_7x16");
  c.kernel_height = c.kernel_width = 2;  // 4 x 127 x 128 leaves int16
  c.RandomData(random);
  EXPECT_EQ(name(Arithmetic::kInt8, false), "depthwise_conv2d_avx2_4x16");
#endif
}

}  // namespace
}  // namespace tfc

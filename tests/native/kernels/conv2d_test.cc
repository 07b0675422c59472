// Every int8 conv2d kernel gives the bits of the reference, and the reference
// is the convolution it says it is.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "conv_case.h"

namespace tfc {
namespace {

std::vector<const Conv2DKernel*> Available() {
  std::vector<const Conv2DKernel*> kernels;
  for (const Conv2DKernel* kernel : Conv2DKernels()) {
    if (kernel->available()) kernels.push_back(kernel);
  }
  return kernels;
}

// Runs the case by the reference and by all kernels that take its weights;
// returns the reference's output.
std::vector<float> ExpectAllEqual(const ConvCase& c, Guard guard) {
  Levels levels;
  EXPECT_TRUE(MakeLevels(c.view(), &levels));
  const std::vector<float> want = c.Run(*CreateRef(c.view(), levels), guard);
  for (const Conv2DKernel* kernel : Available()) {
    if (!Accepts(kernel->packing, levels)) continue;
    const auto conv = CreatePacked(*kernel, c.view(), levels);
    EXPECT_TRUE(SameBits(c.Run(*conv, guard), want))
        << kernel->name << " outs " << c.outs << " kernel " << c.kernel_height
        << "x" << c.kernel_width << " ins " << c.ins << " bits " << c.num_bits
        << " codebook " << c.codebook.size() << " batch " << c.geometry.batch
        << " in " << c.geometry.in_height << "x" << c.geometry.in_width
        << " stride " << c.geometry.stride_height << " dilation "
        << c.geometry.dilation_height << " pad " << c.geometry.pad_top;
  }
  return want;
}

// Symbols at one end (or both in turn) and activations of one (or each) sign.
void Extremes(ConvCase* c, bool low, bool mixed, Random& random) {
  const int last = c->num_symbols() - 1;
  for (size_t i = 0; i < c->symbols.size(); ++i) {
    c->symbols[i] = static_cast<uint8_t>((mixed ? i % 2 == 0 : low) ? 0 : last);
  }
  for (float& v : c->x) v = mixed && Uniform(random, 0, 1) ? -1.0f : 1.0f;
}

TEST(Conv2DKernels, EveryPackingHasAKernelOnAvx2) {
#ifdef TFC_X86_64
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP();
  EXPECT_GE(Available().size(), 5u);
#endif
}

TEST(Conv2DKernels, EqualRefAtAwkwardSizes) {
  Random random(1);
  for (const int ins : kAwkward) {
    for (const int outs : kAwkward) {
      for (const int bits : {1, 2, 3, 4, 8}) {
        ConvCase c;
        c.ins = ins;
        c.outs = outs;
        c.num_bits = bits;
        if (bits == 3) {
          c.num_bits = 4;
          c.RandomCodebook(random, 16);
        }
        c.FullyConnected(Uniform(random, 1, Uniform(random, 0, 1) ? 9 : 40));
        c.RandomData(random);
        ExpectAllEqual(c, ins % 2 ? Guard::kAfter : Guard::kBefore);
      }
    }
  }
}

TEST(Conv2DKernels, NoOverflowAtExtremes) {
  Random random(2);
  std::vector<int> depths(std::begin(kAwkward), std::end(kAwkward));
  depths.insert(depths.end(), {576, 2304, 8191, 30000});
  for (const int ins : depths) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool palette : {false, true}) {
        ConvCase c;
        c.ins = ins;
        c.outs = ins > 256 ? 3 : 17;
        c.num_bits = bits;
        if (palette) c.RandomCodebook(random, 1 << bits);
        c.FullyConnected(ins % 2 ? 5 : 21);
        c.RandomData(random);
        for (const bool low : {false, true}) {
          Extremes(&c, low, false, random);
          ExpectAllEqual(c, Guard::kAfter);
        }
        Extremes(&c, false, true, random);
        ExpectAllEqual(c, Guard::kAfter);
      }
    }
  }
}

TEST(Conv2DKernels, EqualRefAtRandomShapes) {
  Random random(3);
  for (const Width& width : kWidths) {
    for (int i = 0; i < Shapes(200); ++i) {
      ConvCase c;
      c.kernel_height = Uniform(random, 1, 4);
      c.kernel_width = Uniform(random, 1, 4);
      c.ins = Uniform(random, 1, 20);
      c.outs = Uniform(random, 1, 36);
      c.SetWidth(width, random);
      if (!c.Spatial(Uniform(random, 1, 3), Uniform(random, 1, 9),
                     Uniform(random, 1, 9), Uniform(random, 1, 3),
                     Uniform(random, 1, 2), Uniform(random, 0, 1) == 0)) {
        continue;
      }
      c.RandomData(random);
      ExpectAllEqual(c, i % 2 ? Guard::kAfter : Guard::kBefore);
    }
  }
}

TEST(Conv2DKernels, EightBitsAreExactAtEveryDepth) {
  Random random(12);
  const int most = std::max(Shapes(0), 600);
  for (int ins = 1; ins <= most; ++ins) {
    for (const int code : {-127, 127}) {
      ConvCase c;
      c.ins = ins;
      c.outs = 9;
      c.num_bits = 8;
      c.FullyConnected(ins % 2 ? 5 : 17);
      c.RandomData(random);
      c.symbols.assign(c.symbols.size(), static_cast<uint8_t>(128 + code));
      for (float& v : c.x) v = 1.0f;
      ExpectAllEqual(c, Guard::kAfter);
      Extremes(&c, false, true, random);
      ExpectAllEqual(c, Guard::kAfter);
    }
  }
}

TEST(Conv2DKernels, EqualRefWhereRowsComeInSeveralPieces) {
  Random random(4);
  for (const int ins : {1, 3, 16, 130}) {
    for (const int kernel : {1, 3}) {
      ConvCase c;
      c.ins = ins;
      c.outs = 17;
      c.kernel_height = c.kernel_width = kernel;
      ASSERT_TRUE(c.Spatial(2, 23, 21, 1, 1, true));
      c.RandomData(random);
      ExpectAllEqual(c, Guard::kAfter);
    }
  }
}

TEST(Conv2DKernels, EqualRefWhereImagesComeInSeveralGroups) {
  Random random(11);
  ConvCase rows;
  rows.ins = 1001;
  rows.outs = 5;
  rows.FullyConnected(230);
  rows.RandomData(random);
  ExpectAllEqual(rows, Guard::kAfter);
  ConvCase maps;
  maps.ins = 3;
  maps.outs = 9;
  maps.kernel_height = maps.kernel_width = 3;
  ASSERT_TRUE(maps.Spatial(151, 3, 2, 1, 1, true));
  maps.RandomData(random);
  ExpectAllEqual(maps, Guard::kBefore);
}

TEST(Conv2DRef, IsTheConvolutionOfQuantizedActivations) {
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    ConvCase c;
    c.kernel_height = Uniform(random, 1, 3);
    c.kernel_width = Uniform(random, 1, 3);
    c.ins = Uniform(random, 1, 9);
    c.outs = Uniform(random, 1, 9);
    c.num_bits = Uniform(random, 1, 8);
    if (!c.Spatial(2, 7, 6, Uniform(random, 1, 2), Uniform(random, 1, 2),
                   Uniform(random, 0, 1) == 0)) {
      continue;
    }
    c.RandomData(random);
    const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
    // Already quantized activations, so that float arithmetic must agree.
    ConvCase rounded = c;
    rounded.RoundActivations();
    const std::vector<float> want =
        rounded.Run(*CreateFloat(c.view()), Guard::kAfter);
    float largest = 1.0f;
    for (const float v : want) largest = std::max(largest, std::fabs(v));
    for (size_t k = 0; k < want.size(); ++k) {
      ASSERT_NEAR(got[k], want[k], 1e-5f * largest) << "case " << i;
    }
  }
}

TEST(Conv2DKernels, AnImageDoesNotDependOnItsBatch) {
  Random random(6);
  for (const int kernel : {1, 3}) {
    ConvCase c;
    c.ins = 5;
    c.outs = 19;
    c.kernel_height = c.kernel_width = kernel;
    ASSERT_TRUE(c.Spatial(3, 5, 4, 1, 1, true));
    c.RandomData(random);
    const std::vector<float> all = ExpectAllEqual(c, Guard::kAfter);
    for (int n = 0; n < 3; ++n) {
      ConvCase one = c;
      one.geometry.batch = 1;
      one.x.assign(c.x.begin() + n * c.image(),
                   c.x.begin() + (n + 1) * c.image());
      const std::vector<float> part(all.begin() + n * one.outputs(),
                                    all.begin() + (n + 1) * one.outputs());
      EXPECT_TRUE(SameBits(ExpectAllEqual(one, Guard::kAfter), part));
    }
  }
}

TEST(Conv2DKernels, NanAndInfinityReachTheirImageOnly) {
  Random random(7);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  for (const float value : bad) {
    for (const int ins : {1, 3, 8, 40}) {
      for (const Activation activation :
           {Activation::kNone, Activation::kRelu, Activation::kRelu6}) {
        ConvCase c;
        c.ins = ins;
        c.outs = 11;
        c.kernel_height = c.kernel_width = 2;
        ASSERT_TRUE(c.Spatial(3, 4, 4, 1, 1, true));
        c.RandomData(random);
        c.activation = activation;
        const std::vector<float> clean = ExpectAllEqual(c, Guard::kAfter);
        c.x[c.image() + Uniform(random, 0, c.image() - 1)] = value;
        const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
        ASSERT_NO_FATAL_FAILURE(ExpectNanInSecondOfThree(got, clean));
      }
    }
  }
}

TEST(Conv2DKernels, ZeroAndTinyImagesGiveTheBias) {
  Random random(8);
  for (const float value : {0.0f, -0.0f, 1e-40f, 1e-37f}) {
    ConvCase c;
    c.ins = 12;
    c.outs = 9;
    c.FullyConnected(2);
    c.RandomData(random);
    c.activation = Activation::kNone;
    c.bias.assign(9, 0.75f);
    c.x.assign(c.x.size(), value);
    for (const float y : ExpectAllEqual(c, Guard::kAfter)) {
      EXPECT_EQ(y, 0.75f);
    }
  }
}

TEST(Conv2DKernels, LargestActivationsStayFinite) {
  Random random(9);
  ConvCase c;
  c.ins = 16;
  c.outs = 8;
  c.FullyConnected(1);
  c.RandomData(random);
  c.scale.assign(1, 1e-4f);
  for (float& v : c.x) v = std::numeric_limits<float>::max();
  for (const float y : ExpectAllEqual(c, Guard::kAfter)) {
    EXPECT_TRUE(std::isfinite(y));
  }
}

TEST(Conv2DCreate, ChoosesByWeightsAndCpu) {
  Random random(10);
  ConvCase c;
  c.ins = 8;
  c.outs = 8;
  c.FullyConnected(1);
  c.RandomData(random);
  const auto name = [&c](Arithmetic arithmetic, bool use_ref) {
    return std::string(
        Conv2D::Create(c.view(), arithmetic, use_ref)->KernelName());
  };
  EXPECT_EQ(name(Arithmetic::kFloat, false), "conv2d_float_ref");
  EXPECT_EQ(name(Arithmetic::kInt8, true), "conv2d_ref");
#ifdef TFC_X86_64
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP();
  EXPECT_EQ(name(Arithmetic::kInt8, false), "conv2d_u4_avx2_4x16");
  EXPECT_EQ(Conv2D::Create(c.view(), Arithmetic::kInt8)->WeightBytes(), 64u);
  c.num_bits = 1;
  for (uint8_t& s : c.symbols) s &= 1;
  EXPECT_EQ(name(Arithmetic::kInt8, false), "conv2d_u1_avx2_4x32");
  EXPECT_EQ(Conv2D::Create(c.view(), Arithmetic::kInt8)->WeightBytes(), 64u);
  c.kernel_width = 2;
  c.ins = 4;
  EXPECT_EQ(name(Arithmetic::kInt8, false), "conv2d_u2_avx2_4x16");
  c.kernel_width = 1;
  c.ins = 8;
  c.num_bits = 2;
  EXPECT_EQ(name(Arithmetic::kInt8, false), "conv2d_u2_avx2_4x16");
  EXPECT_EQ(Conv2D::Create(c.view(), Arithmetic::kInt8)->WeightBytes(), 64u);
  c.num_bits = 8;
  EXPECT_EQ(name(Arithmetic::kInt8, false), "conv2d_u8_avx2_4x8");
  c.num_bits = 4;
  c.RandomCodebook(random, 16);
  EXPECT_EQ(name(Arithmetic::kInt8, false), "conv2d_palette_avx2_4x8");
#endif
}

TEST(Conv2DCreate, SumsThatCouldLeaveInt32AreDoneInFloat) {
  ConvCase c;
  c.ins = 140000;
  c.num_bits = 8;
  c.symbols.assign(c.ins, 0);
  c.scale.assign(1, 1.0f);
  EXPECT_STREQ(Conv2D::Create(c.view(), Arithmetic::kInt8)->KernelName(),
               "conv2d_float_ref");
}

}  // namespace
}  // namespace tfc

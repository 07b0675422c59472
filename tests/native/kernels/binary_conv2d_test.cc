// Every kernel for signs gives the bits of the reference, and the reference is
// the convolution of signs.
#include "kernels/binary_conv2d/binary_conv2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "conv_case.h"
#include "kernels/binary_conv2d/kernel.h"

namespace tfc {
namespace {

ConvCase Signs(int ins, int outs) {
  ConvCase c;
  c.num_bits = 1;
  c.ins = ins;
  c.outs = outs;
  return c;
}

SignsView View(const ConvCase& c) {
  return {c.outs,
          c.kernel_height,
          c.kernel_width,
          c.ins,
          c.symbols.data(),
          c.scale.data(),
          static_cast<int>(c.scale.size())};
}

// Runs the case by the reference and by all kernels; returns the former's
// output.
std::vector<float> ExpectAllEqual(const ConvCase& c, Guard guard) {
  const std::vector<float> want = c.Run(*CreateSignsRef(View(c)), guard);
  for (const BinaryConv2DKernel* kernel : BinaryConv2DKernels()) {
    if (!kernel->available()) continue;
    EXPECT_TRUE(SameBits(c.Run(*CreateSigns(*kernel, View(c)), guard), want))
        << kernel->name << " outs " << c.outs << " kernel " << c.kernel_height
        << "x" << c.kernel_width << " ins " << c.ins << " in "
        << c.geometry.in_height << "x" << c.geometry.in_width << " stride "
        << c.geometry.stride_height << " dilation "
        << c.geometry.dilation_height << " pad " << c.geometry.pad_top;
  }
  return want;
}

TEST(BinaryConv2D, EqualsRefAtAwkwardSizes) {
  Random random(1);
  for (const int ins : kAwkward) {
    for (const int outs : kAwkward) {
      ConvCase c = Signs(ins, outs);
      c.FullyConnected(Uniform(random, 1, 9));
      c.RandomData(random);
      ExpectAllEqual(c, ins % 2 ? Guard::kAfter : Guard::kBefore);
    }
  }
}

TEST(BinaryConv2D, EqualsRefAtRandomShapes) {
  Random random(2);
  for (int i = 0; i < Shapes(1200); ++i) {
    ConvCase c = Signs(Uniform(random, 1, 70), Uniform(random, 1, 20));
    c.kernel_height = Uniform(random, 1, 4);
    c.kernel_width = Uniform(random, 1, 4);
    if (!c.Spatial(Uniform(random, 1, 2), Uniform(random, 1, 8),
                   Uniform(random, 1, 8), Uniform(random, 1, 3),
                   Uniform(random, 1, 2), Uniform(random, 0, 1) == 0)) {
      continue;
    }
    c.RandomData(random);
    ExpectAllEqual(c, i % 2 ? Guard::kAfter : Guard::kBefore);
  }
}

TEST(BinaryConv2D, NoOverflowWhereAllSignsDiffer) {
  for (const int ins : {31 * 32, 31 * 32 + 1, 63 * 32, 5000}) {
    for (const uint8_t symbol : {0, 1}) {
      ConvCase c = Signs(ins, 9);
      c.FullyConnected(5);
      c.symbols.assign(size_t{9} * ins, symbol);
      c.scale.assign(1, 1.0f);
      c.x.assign(size_t{5} * ins, symbol ? -1.0f : 1.0f);
      for (const float y : ExpectAllEqual(c, Guard::kAfter)) {
        ASSERT_EQ(y, static_cast<float>(-ins));
      }
    }
  }
}

// The float kernel multiplies by signs that are written out as numbers; the
// 1-bit weights of kernels/conv2d are -1 and 0, so they come as a codebook.
TEST(BinaryConv2DRef, IsTheConvolutionOfSigns) {
  Random random(3);
  for (int i = 0; i < 100; ++i) {
    ConvCase c = Signs(Uniform(random, 1, 40), Uniform(random, 1, 9));
    c.kernel_height = Uniform(random, 1, 3);
    c.kernel_width = Uniform(random, 1, 3);
    c.codebook = {-1.0f, 1.0f};
    if (!c.Spatial(2, 6, 5, Uniform(random, 1, 2), 1, true)) continue;
    c.RandomData(random);
    const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
    for (float& v : c.x) v = v >= 0.0f ? 1.0f : -1.0f;
    const std::vector<float> want =
        c.Run(*CreateFloat(c.view()), Guard::kAfter);
    for (size_t k = 0; k < want.size(); ++k) {
      ASSERT_NEAR(got[k], want[k], 1e-4f * (1.0f + std::fabs(want[k])));
    }
  }
}

TEST(BinaryConv2D, ZerosAndInfinitiesHaveASign) {
  ConvCase c = Signs(5, 1);
  c.FullyConnected(1);
  c.symbols.assign(5, 1);
  c.scale.assign(1, 2.0f);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  c.x = {0.0f, -0.0f, kInfinity, -kInfinity, -1e-45f};
  EXPECT_EQ(ExpectAllEqual(c, Guard::kAfter), std::vector<float>{2.0f});
}

TEST(BinaryConv2D, NanReachesItsImageOnly) {
  Random random(4);
  for (const int ins : {1, 3, 8, 40}) {
    for (const Activation activation :
         {Activation::kNone, Activation::kRelu, Activation::kRelu6}) {
      ConvCase c = Signs(ins, 11);
      c.kernel_height = c.kernel_width = 2;
      ASSERT_TRUE(c.Spatial(3, 4, 4, 1, 1, true));
      c.RandomData(random);
      c.activation = activation;
      const std::vector<float> clean = ExpectAllEqual(c, Guard::kAfter);
      c.x[c.image() + Uniform(random, 0, c.image() - 1)] = std::nanf("");
      const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
      ASSERT_NO_FATAL_FAILURE(ExpectNanInSecondOfThree(got, clean));
    }
  }
}

TEST(BinaryConv2D, ChoosesByCpu) {
  Random random(5);
  ConvCase c = Signs(64, 16);
  c.FullyConnected(1);
  c.RandomData(random);
  const auto name = [&c](bool use_ref) {
    return std::string(CreateBinaryConv2D(View(c), use_ref)->KernelName());
  };
  EXPECT_EQ(name(true), "binary_conv2d_ref");
#ifdef TFC_X86_64
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP();
  EXPECT_EQ(name(false), "binary_conv2d_avx2_4x8");
#elif defined(TFC_AARCH64)
  EXPECT_EQ(name(false), "binary_conv2d_neon_4x8");
#else
  EXPECT_EQ(name(false), "binary_conv2d_portable");
#endif
}

}  // namespace
}  // namespace tfc

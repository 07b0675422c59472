// Every sparse_conv2d kernel gives the bits of the reference of conv2d.
#include "kernels/sparse_conv2d/sparse_conv2d.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "conv_case.h"
#include "kernels/sparse_conv2d/kernel.h"

namespace tfc {
namespace {

void SetZeros(ConvCase* c, int percent, Random& random) {
  const auto zero = static_cast<uint8_t>(c->zero_symbol());
  for (uint8_t& s : c->symbols) {
    if (Uniform(random, 1, 100) <= percent) s = zero;
  }
}

std::vector<float> ExpectAllEqual(const ConvCase& c, Guard guard) {
  Levels levels;
  EXPECT_TRUE(MakeLevels(c.view(), &levels));
  const std::vector<float> want = c.Run(*CreateRef(c.view(), levels), guard);
  for (const SparseConv2DKernel* kernel : SparseConv2DKernels()) {
    if (!kernel->available()) continue;
    const auto conv = CreateSparse(*kernel, c.view(), levels);
    EXPECT_TRUE(SameBits(c.Run(*conv, guard), want))
        << kernel->name << " outs " << c.outs << " kernel " << c.kernel_height
        << "x" << c.kernel_width << " ins " << c.ins << " bits " << c.num_bits
        << " codebook " << c.codebook.size() << " batch " << c.geometry.batch
        << " in " << c.geometry.in_height << "x" << c.geometry.in_width
        << " stride " << c.geometry.stride_height << " dilation "
        << c.geometry.dilation_height;
  }
  return want;
}

TEST(SparseConv2DKernels, EqualRefAtAwkwardSizes) {
  Random random(1);
  for (const int ins : kAwkward) {
    for (const int outs : kAwkward) {
      for (const bool palette : {false, true}) {
        ConvCase c;
        c.ins = ins;
        c.outs = outs;
        c.num_bits = Uniform(random, 1, 8);
        if (palette) c.RandomCodebook(random, 1 << c.num_bits);
        ASSERT_TRUE(c.Spatial(1, 1, Uniform(random, 1, 33), 1, 1,
                              Uniform(random, 0, 1)));
        c.RandomData(random);
        SetZeros(&c, Uniform(random, 0, 100), random);
        ExpectAllEqual(c, ins % 2 ? Guard::kAfter : Guard::kBefore);
      }
    }
  }
}

TEST(SparseConv2DKernels, EqualRefAtEveryNumberOfPixels) {
  Random random(2);
  for (int pixels = 1; pixels <= 70; ++pixels) {
    ConvCase c;
    c.ins = 19;
    c.outs = 21;
    ASSERT_TRUE(c.Spatial(2, 1, pixels, 1, 1, true));
    c.RandomData(random);
    SetZeros(&c, 80, random);
    ExpectAllEqual(c, Guard::kAfter);
  }
}

TEST(SparseConv2DKernels, EqualRefAtRandomShapes) {
  Random random(3);
  for (const Width& width : kWidths) {
    for (int i = 0; i < Shapes(120); ++i) {
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
      SetZeros(&c, Uniform(random, 50, 100), random);
      ExpectAllEqual(c, i % 2 ? Guard::kAfter : Guard::kBefore);
    }
  }
}

TEST(SparseConv2DKernels, NoOverflowAtExtremes) {
  Random random(4);
  for (const int bits : {4, 8}) {
    for (const bool palette : {false, true}) {
      ConvCase c;
      c.ins = 8191;
      c.outs = 2;
      c.num_bits = bits;
      if (palette) c.RandomCodebook(random, 1 << bits);
      ASSERT_TRUE(c.Spatial(1, 1, 3, 1, 1, true));
      c.RandomData(random);
      for (const int symbol : {0, c.num_symbols() - 1}) {
        c.symbols.assign(c.symbols.size(), static_cast<uint8_t>(symbol));
        for (const float value : {1.0f, -1.0f}) {
          c.x.assign(c.x.size(), value);
          ExpectAllEqual(c, Guard::kAfter);
        }
      }
    }
  }
}

TEST(SparseConv2DKernels, NanAndInfinityReachTheirImageOnly) {
  Random random(5);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    for (const int ins : {1, 8, 19}) {
      ConvCase c;
      c.ins = ins;
      c.outs = 11;
      ASSERT_TRUE(c.Spatial(3, 5, 4, 1, 1, true));
      c.RandomData(random);
      SetZeros(&c, 90, random);
      const std::vector<float> clean = ExpectAllEqual(c, Guard::kAfter);
      c.x[c.image() + Uniform(random, 0, c.image() - 1)] = value;
      const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
      ASSERT_NO_FATAL_FAILURE(ExpectNanInSecondOfThree(got, clean));
    }
  }
}

TEST(SparseConv2DKernels, KeepOnlyNonzeroWeights) {
  ConvCase c;
  c.ins = 64;
  c.outs = 3;
  c.symbols.assign(size_t{3} * 64, 8);
  c.symbols[5] = c.symbols[7] = c.symbols[9] = c.symbols[100] = 15;
  c.scale.assign(1, 1.0f);
  Levels levels;
  ASSERT_TRUE(MakeLevels(c.view(), &levels));
  for (const SparseConv2DKernel* kernel : SparseConv2DKernels()) {
    const auto conv = CreateSparse(*kernel, c.view(), levels);
    EXPECT_EQ(conv->WeightBytes(), 3 * sizeof(SparsePair) + 3 * 4);
  }
}

TEST(SparseConv2DCreate, TakesMapsWithManyZeros) {
  Random random(6);
  ConvCase c;
  c.ins = 64;
  c.outs = 32;
  ASSERT_TRUE(c.Spatial(1, 4, 4, 1, 1, true));
  c.RandomData(random);
  const auto is_sparse = [&c](bool on_maps, bool use_ref) {
    WeightsView view = c.view();
    view.on_maps = on_maps;
    const auto conv = Conv2D::Create(view, Arithmetic::kInt8, use_ref);
    return std::string(conv->KernelName()).find("sparse") == 0;
  };
  EXPECT_FALSE(is_sparse(true, false));
  SetZeros(&c, 90, random);
  EXPECT_FALSE(is_sparse(true, true));
  EXPECT_FALSE(is_sparse(false, false));
#ifdef TFC_X86_64
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP();
  EXPECT_TRUE(is_sparse(true, false));
#endif
}

}  // namespace
}  // namespace tfc

// Every sparse_dense kernel gives the bits of the reference of conv2d.
#include "kernels/sparse_dense/sparse_dense.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "conv_case.h"
#include "kernels/sparse_dense/kernel.h"

namespace tfc {
namespace {

struct BlockCase : ConvCase {
  WeightsView rows_view() const {
    WeightsView v = view();
    v.on_maps = false;
    return v;
  }

  // Makes `percent` of the blocks of depths x outs zero.
  void SetZeroBlocks(int percent, int depths, int block_outs, Random& random) {
    const auto zero = static_cast<uint8_t>(zero_symbol());
    for (int o = 0; o < outs; o += block_outs) {
      for (int k = 0; k < ins; k += depths) {
        if (Uniform(random, 1, 100) > percent) continue;
        for (int i = o; i < std::min(o + block_outs, outs); ++i) {
          for (int j = k; j < std::min(k + depths, ins); ++j) {
            symbols[size_t{1} * i * ins + j] = zero;
          }
        }
      }
    }
  }
};

std::vector<float> ExpectAllEqual(const BlockCase& c, Guard guard) {
  Levels levels;
  EXPECT_TRUE(MakeLevels(c.rows_view(), &levels));
  const std::vector<float> want =
      c.Run(*CreateRef(c.rows_view(), levels), guard);
  for (const SparseDenseKernel* kernel : SparseDenseKernels()) {
    if (!kernel->available()) continue;
    const auto dense = CreateBlocks(*kernel, c.rows_view(), levels);
    EXPECT_TRUE(SameBits(c.Run(*dense, guard), want))
        << kernel->name << " outs " << c.outs << " ins " << c.ins << " bits "
        << c.num_bits << " codebook " << c.codebook.size() << " rows "
        << c.geometry.batch;
  }
  return want;
}

TEST(SparseDenseKernels, EqualRefAtAwkwardSizes) {
  Random random(1);
  for (const int ins : kAwkward) {
    for (const int outs : kAwkward) {
      for (const bool palette : {false, true}) {
        BlockCase c;
        c.ins = ins;
        c.outs = outs;
        c.num_bits = Uniform(random, 1, 8);
        if (palette) c.RandomCodebook(random, 1 << c.num_bits);
        c.FullyConnected(Uniform(random, 1, 9));
        c.RandomData(random);
        const bool wide = Uniform(random, 0, 1) != 0;
        c.SetZeroBlocks(Uniform(random, 0, 100), wide ? 16 : 1, wide ? 1 : 16,
                        random);
        ExpectAllEqual(c, ins % 2 ? Guard::kAfter : Guard::kBefore);
      }
    }
  }
}

TEST(SparseDenseKernels, EqualRefAtRandomShapes) {
  Random random(2);
  for (const Width& width : kWidths) {
    for (int i = 0; i < Shapes(80); ++i) {
      BlockCase c;
      c.ins = Uniform(random, 1, 100);
      c.outs = Uniform(random, 1, 100);
      c.SetWidth(width, random);
      c.FullyConnected(Uniform(random, 1, 70));
      c.RandomData(random);
      c.SetZeroBlocks(Uniform(random, 0, 100), Uniform(random, 1, 20),
                      Uniform(random, 1, 20), random);
      ExpectAllEqual(c, i % 2 ? Guard::kAfter : Guard::kBefore);
    }
  }
}

TEST(SparseDenseKernels, EqualRefWhereRowsComeInSeveralPieces) {
  Random random(3);
  BlockCase c;
  c.ins = 130;
  c.outs = 33;
  c.FullyConnected(140);
  c.RandomData(random);
  c.SetZeroBlocks(80, 1, 16, random);
  ExpectAllEqual(c, Guard::kAfter);
}

TEST(SparseDenseKernels, NoOverflowAtExtremes) {
  Random random(4);
  for (const int bits : {4, 8}) {
    for (const bool palette : {false, true}) {
      BlockCase c;
      c.ins = 8191;
      c.outs = 17;
      c.num_bits = bits;
      if (palette) c.RandomCodebook(random, 1 << bits);
      c.FullyConnected(2);
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

TEST(SparseDenseKernels, NanAndInfinityReachTheirRowOnly) {
  Random random(5);
  for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    for (const int ins : {1, 8, 40}) {
      BlockCase c;
      c.ins = ins;
      c.outs = 19;
      c.FullyConnected(3);
      c.RandomData(random);
      c.SetZeroBlocks(90, 1, 16, random);
      const std::vector<float> clean = ExpectAllEqual(c, Guard::kAfter);
      c.x[ins + Uniform(random, 0, ins - 1)] = value;
      const std::vector<float> got = ExpectAllEqual(c, Guard::kAfter);
      ASSERT_NO_FATAL_FAILURE(ExpectNanInSecondOfThree(got, clean));
    }
  }
}

TEST(SparseDenseCreate, TakesRowsWithManyZeroBlocksOfEitherShape) {
  Random random(6);
  BlockCase c;
  c.ins = 64;
  c.outs = 64;
  c.FullyConnected(1);
  c.RandomData(random);
  const auto name = [&c](bool on_maps, bool use_ref = false) {
    WeightsView view = c.view();
    view.on_maps = on_maps;
    const auto dense = Conv2D::Create(view, Arithmetic::kInt8, use_ref);
    return std::string(dense->KernelName());
  };
  const std::vector<uint8_t> full = c.symbols;
  EXPECT_EQ(name(false).find("sparse_dense"), std::string::npos);
  c.SetZeroBlocks(90, 1, 16, random);
  EXPECT_EQ(name(false, true), "conv2d_ref");
  EXPECT_EQ(name(true).find("sparse_dense"), std::string::npos);
#ifdef TFC_X86_64
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP();
  EXPECT_EQ(name(false), "sparse_dense_outs_avx2");
  c.symbols = full;
  c.SetZeroBlocks(95, 16, 1, random);
  EXPECT_EQ(name(false), "sparse_dense_depths_avx2_4");
#endif
}

}  // namespace
}  // namespace tfc

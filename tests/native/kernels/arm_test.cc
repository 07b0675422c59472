// Which kernels an Arm machine gets: those with sdot where it has the
// instruction, those of plain NEON elsewhere.
#ifdef TFC_AARCH64
#include <gtest/gtest.h>

#include <string>

#include "conv_case.h"
#include "kernels/arm_features.h"
#include "kernels/binary_conv2d/binary_conv2d.h"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"
#include "kernels/embedding/embedding.h"

namespace tfc {
namespace {

std::string Chosen(const ConvCase& c) {
  return Conv2D::Create(c.view(), Arithmetic::kInt8)->KernelName();
}

TEST(Arm, ChoosesByWeightsAndCpu) {
  const bool dotprod = HasDotprod();
  RecordProperty("dotprod", dotprod);
  Random random(1);
  ConvCase c;
  c.ins = c.outs = 8;
  c.kernel_height = c.kernel_width = 3;
  ASSERT_TRUE(c.Spatial(1, 3, 3, 1, 1, true));
  c.num_bits = 2;
  c.RandomData(random);
  EXPECT_EQ(Chosen(c),
            dotprod ? "conv2d_u2_dotprod_4x16" : "conv2d_u2_neon_2x16");
  c.num_bits = 4;
  EXPECT_EQ(Chosen(c),
            dotprod ? "conv2d_u4_dotprod_4x16" : "conv2d_u4_neon_2x16");
  c.num_bits = 8;
  EXPECT_EQ(Chosen(c),
            dotprod ? "conv2d_u8_dotprod_8x8" : "conv2d_u8_neon_3x8");
  c.num_bits = 4;
  c.RandomCodebook(random, 16);
  EXPECT_EQ(Chosen(c),
            dotprod ? "conv2d_palette_dotprod_4x8" : "conv2d_palette_neon_2x8");
}

TEST(Arm, EveryOpHasAKernel) {
  Random random(2);
  ConvCase c;
  c.ins = c.outs = 32;
  c.num_bits = 1;
  ASSERT_TRUE(c.Spatial(1, 3, 3, 1, 1, true));
  c.RandomData(random);
  EXPECT_EQ(Chosen(c), "conv2d_u1_neon_2x32");
  const SignsView signs = {c.outs,
                           1,
                           1,
                           c.ins,
                           c.symbols.data(),
                           c.scale.data(),
                           static_cast<int>(c.scale.size())};
  EXPECT_STREQ(CreateBinaryConv2D(signs)->KernelName(),
               "binary_conv2d_neon_4x8");
  c.num_bits = 4;
  c.symbols.assign(c.symbols.size(), 8);  // the zero
  EXPECT_EQ(Chosen(c), "sparse_conv2d_neon_32x4");
  WeightsView rows = c.view();
  rows.on_maps = false;
  EXPECT_STREQ(Conv2D::Create(rows, Arithmetic::kInt8)->KernelName(),
               "sparse_dense_outs_neon");
  WeightsView depthwise = c.view();
  depthwise.in_channels = 1;
  EXPECT_STREQ(
      CreateDepthwiseConv2D(depthwise, 1, Arithmetic::kInt8)->KernelName(),
      "depthwise_conv2d_s16_neon_7x16");
  const float levels[16] = {}, scale = 1.0f;
  const TableView table = {32, 32, 4, c.symbols.data(), levels, 16, &scale, 1};
  EXPECT_STREQ(Embedding(table).KernelName(), "embedding_neon");
}

TEST(Arm, SkipsZerosWhereThatIsFaster) {
  Random random(3);
  ConvCase c;
  c.ins = c.outs = 32;
  ASSERT_TRUE(c.Spatial(1, 3, 3, 1, 1, true));
  for (const bool most : {false, true}) {
    c.RandomData(random);
    for (size_t i = 0; i < c.symbols.size(); ++i) {
      if (i % 10 >= (most ? 1 : 2)) c.symbols[i] = 8;
    }
    EXPECT_EQ(Chosen(c), HasDotprod() && !most ? "conv2d_u4_dotprod_4x16"
                                               : "sparse_conv2d_neon_32x4");
  }
}

}  // namespace
}  // namespace tfc
#endif

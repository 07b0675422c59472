// Which kernels an Arm machine gets: those with sdot where it has the
// instruction, those of plain NEON elsewhere.
#ifdef TFC_AARCH64
#include <gtest/gtest.h>
#include <sys/auxv.h>

#include <string>

#include "conv_case.h"

namespace tfc {
namespace {

std::string Chosen(const ConvCase& c) {
  return Conv2D::Create(c.view(), Arithmetic::kInt8)->KernelName();
}

TEST(Arm, ChoosesByWeightsAndCpu) {
  const bool dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
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

}  // namespace
}  // namespace tfc
#endif

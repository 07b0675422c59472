// The float path against the same convolution in double.
#include <gtest/gtest.h>

#include <cmath>

#include "conv_case.h"

namespace tfc {
namespace {

double Weight(const ConvCase& c, int o, size_t k) {
  const uint8_t symbol = c.symbols[o * c.depth() + k];
  const float value = c.codebook.empty()
                          ? static_cast<float>(symbol - (1 << (c.num_bits - 1)))
                          : c.codebook[symbol];
  return c.scale[c.scale.size() == 1 ? 0 : o] * value;
}

double Output(const ConvCase& c, int n, int oy, int ox, int o) {
  const ConvGeometry& g = c.geometry;
  double sum = c.bias.empty() ? 0.0 : c.bias[o];
  size_t k = 0;
  for (int ky = 0; ky < c.kernel_height; ++ky) {
    for (int kx = 0; kx < c.kernel_width; ++kx) {
      const int iy = oy * g.stride_height + ky * g.dilation_height - g.pad_top;
      const int ix = ox * g.stride_width + kx * g.dilation_width - g.pad_left;
      for (int i = 0; i < c.ins; ++i, ++k) {
        if (iy < 0 || iy >= g.in_height || ix < 0 || ix >= g.in_width) continue;
        const size_t at = (size_t{1} * iy * g.in_width + ix) * c.ins + i;
        sum += Weight(c, o, k) * c.x[n * c.image() + at];
      }
    }
  }
  return sum;
}

double Activated(const ConvCase& c, double v) {
  if (c.activation != Activation::kNone) v = std::max(v, 0.0);
  if (c.activation == Activation::kRelu6) v = std::min(v, 6.0);
  return v;
}

void ExpectClose(const ConvCase& c) {
  const auto conv = Conv2D::Create(c.view(), Arithmetic::kFloat);
  const std::vector<float> got = c.Run(*conv, Guard::kAfter);
  std::vector<double> want;
  for (int n = 0; n < c.geometry.batch; ++n) {
    for (int oy = 0; oy < c.geometry.out_height; ++oy) {
      for (int ox = 0; ox < c.geometry.out_width; ++ox) {
        for (int o = 0; o < c.outs; ++o) {
          want.push_back(Output(c, n, oy, ox, o));
        }
      }
    }
  }
  double largest = 1e-3;
  for (const double v : want) largest = std::max(largest, std::fabs(v));
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], Activated(c, want[i]), 3e-6 * largest);
  }
}

TEST(Conv2DFloat, IsTheConvolution) {
  Random random(1);
  for (int i = 0; i < 300; ++i) {
    ConvCase c;
    c.kernel_height = Uniform(random, 1, 3);
    c.kernel_width = Uniform(random, 1, 4);
    c.ins = Uniform(random, 1, 20);
    c.outs = Uniform(random, 1, 20);
    c.num_bits = Uniform(random, 1, 8);
    if (Uniform(random, 0, 1)) c.RandomCodebook(random, 1 << c.num_bits);
    if (!c.Spatial(Uniform(random, 1, 2), 6, 5, Uniform(random, 1, 3),
                   Uniform(random, 1, 2), Uniform(random, 0, 1) == 0)) {
      continue;
    }
    c.RandomData(random);
    ExpectClose(c);
  }
}

TEST(Conv2DFloat, StaysAccurateOverDeepSums) {
  Random random(2);
  ConvCase c;
  c.ins = 20000;
  c.outs = 3;
  c.FullyConnected(2);
  c.RandomData(random);
  for (float& v : c.x) v = std::fabs(v);
  ExpectClose(c);
}

}  // namespace
}  // namespace tfc

// Static int8 convolutions: every kernel gives the bits of the reference, and
// requantization is TFLite's.
#include "kernels/conv2d/static_conv2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "conv_case.h"
#include "kernels/depthwise_conv2d/kernel.h"

namespace tfc {
namespace {

struct StaticCase : ConvCase {
  std::vector<int8_t> codes;
  std::vector<int32_t> biases, multipliers, shifts;
  Requantization to{};
  int multiplier = 0;  // of a depthwise convolution, else 0

  WeightsView weights() const {
    WeightsView v = view();
    if (multiplier > 0) v.in_channels = 1;
    return v;
  }

  void WholeCodebook(Random& random, int size) {
    codebook.assign(size, 0.0f);
    for (float& c : codebook) {
      c = static_cast<float>(Uniform(random, -128, 127));
    }
  }

  void RandomStatic(Random& random) {
    RandomData(random);
    codes.resize(x.size());
    for (int8_t& c : codes) {
      c = static_cast<int8_t>(Uniform(random, -128, 127));
    }
    biases.resize(bias.size());
    for (int32_t& b : biases) b = Uniform(random, -20000, 20000);
    for (int o = 0; o < outs; ++o) {
      multipliers.push_back(Uniform(random, 1 << 30, 2147483647));
      shifts.push_back(Uniform(random, -12, 1));
    }
    to.input_zero_point = Uniform(random, -128, 127);
    to.output_zero_point = Uniform(random, -128, 127);
    to.least = Uniform(random, 0, 1) ? -128 : to.output_zero_point;
    to.greatest = Uniform(random, 0, 1) ? 127 : std::max(to.least, 40);
    to.multipliers = multipliers.data();
    to.shifts = shifts.data();
  }

  std::vector<int8_t> RunAll(const StaticConv2D& conv, Guard guard) const {
    Guarded<int8_t> in(codes, guard), y(outputs(), guard);
    Guarded<int32_t> offset(biases, guard);
    Guarded<char> workspace((conv.WorkspaceBytes(geometry) + 63) / 64 * 64,
                            guard);
    conv.RunStatic(geometry, in.data(),
                   biases.empty() ? nullptr : offset.data(), to, y.data(),
                   workspace.data());
    return y.values();
  }
};

void ExpectAllEqual(const StaticCase& c, Guard guard) {
  WholeLevels levels;
  ASSERT_TRUE(MakeWholeLevels(c.weights(), &levels));
  const auto expect = [&](const char* name, const StaticConv2D& conv,
                          const std::vector<int8_t>& want) {
    EXPECT_EQ(c.RunAll(conv, guard), want)
        << name << " outs " << c.outs << " kernel " << c.kernel_height << "x"
        << c.kernel_width << " ins " << c.ins << " bits " << c.num_bits
        << " codebook " << c.codebook.size();
  };
  if (c.multiplier > 0) {
    const auto want = c.RunAll(
        *CreateStaticDepthwiseRef(c.weights(), c.multiplier, levels), guard);
    for (const DepthwiseKernel* kernel : DepthwiseKernels()) {
      if (!kernel->available() || kernel->requantize == nullptr ||
          !Accepts(*kernel, c.weights(), levels, kLargestStaticCode)) {
        continue;
      }
      expect(kernel->name,
             *CreateStaticPackedDepthwise(*kernel, c.weights(), c.multiplier,
                                          levels),
             want);
    }
    return;
  }
  const auto want = c.RunAll(*CreateStaticRef(c.weights(), levels), guard);
  for (const Conv2DKernel* kernel : Conv2DKernels()) {
    if (!kernel->available() || kernel->requantize == nullptr) continue;
    if (!Accepts(kernel->packing, levels)) continue;
    expect(kernel->name, *CreateStaticPacked(*kernel, c.weights(), levels),
           want);
  }
}

// MultiplyByQuantizedMultiplier as TFLite defines it, with its saturation and
// its division that rounds toward zero.
int32_t TfliteProduct(int32_t x, int32_t multiplier, int shift) {
  const int64_t left =
      static_cast<int32_t>(static_cast<uint32_t>(x) << (shift > 0 ? shift : 0));
  const int64_t product = left * multiplier;
  const int64_t nudge = product >= 0 ? 1 << 30 : 1 - (1 << 30);
  const auto high =
      static_cast<int32_t>((product + nudge) / (int64_t{1} << 31));
  const int exponent = shift > 0 ? 0 : -shift;
  const auto mask = static_cast<int32_t>((int64_t{1} << exponent) - 1);
  const int32_t remainder = high & mask;
  const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
  return (high >> exponent) + (remainder > threshold ? 1 : 0);
}

std::vector<const RequantizeKernel*> Requantizers() {
  std::vector<const RequantizeKernel*> kernels = {&kRequantizeRef};
#ifdef TFC_X86_64
  if (__builtin_cpu_supports("avx2")) kernels.push_back(&kRequantizeAvx2);
#endif
#ifdef TFC_AARCH64
  kernels.push_back(&kRequantizeNeon);
#endif
  return kernels;
}

TEST(Requantize, IsTheProductOfTflite) {
  Random random(1);
  std::uniform_int_distribution<int32_t> any(INT32_MIN, INT32_MAX);
  for (int i = 0; i < 20000; ++i) {
    const int bits = Uniform(random, 0, 31);
    int32_t sum = any(random) >> bits;
    const int32_t multiplier =
        Uniform(random, 0, 9) == 0 ? 0 : Uniform(random, 1 << 30, 2147483647);
    const int shift = Uniform(random, -31, bits);
    if (Uniform(random, 0, 3) == 0) sum = sum / 2 * 2 + 1;
    const Requantization to = {0, 3, -128, 127, &multiplier, &shift};
    const int32_t zero = 0;
    const int64_t want = std::clamp<int64_t>(
        int64_t{TfliteProduct(sum, multiplier, shift)} + 3, -128, 127);
    int8_t y;
    kRequantizeRef.row(&sum, 1, &zero, to, 1, &y);
    ASSERT_EQ(y, want) << sum << " " << multiplier << " " << shift;
  }
}

TEST(Requantize, EqualsRefAtEverySizeAndStaysInside) {
  Random random(2);
  std::uniform_int_distribution<int32_t> any(INT32_MIN, INT32_MAX);
  for (int n = 0; n <= 70; ++n) {
    std::vector<int32_t> sums(n), offsets(n), multipliers(n), shifts(n);
    for (int i = 0; i < n; ++i) {
      sums[i] = any(random) >> Uniform(random, 0, 31);
      offsets[i] = any(random) >> Uniform(random, 10, 31);
      multipliers[i] = Uniform(random, 0, 2147483647);
      shifts[i] = Uniform(random, -31, 30);
    }
    const int32_t factor = Uniform(random, -3, 100);
    const Requantization to = {0,  Uniform(random, -128, 127), -100,
                               90, multipliers.data(),         shifts.data()};
    std::vector<int8_t> want(n);
    kRequantizeRef.row(sums.data(), factor, offsets.data(), to, n, want.data());
    for (const RequantizeKernel* kernel : Requantizers()) {
      Guarded<int32_t> in(sums, Guard::kAfter), more(offsets, Guard::kAfter);
      Guarded<int8_t> y(n);
      kernel->row(in.data(), factor, more.data(), to, n, y.data());
      EXPECT_EQ(y.values(), want) << kernel->name << " " << n;
    }
  }
}

TEST(StaticConv2D, EqualRefAtAwkwardSizes) {
  Random random(3);
  for (const int ins : kAwkward) {
    for (const int outs : kAwkward) {
      for (const int bits : {1, 2, 4, 8}) {
        StaticCase c;
        c.ins = ins;
        c.outs = outs;
        c.num_bits = bits;
        if (Uniform(random, 0, 1)) c.WholeCodebook(random, 1 << bits);
        c.FullyConnected(Uniform(random, 1, 20));
        c.RandomStatic(random);
        ExpectAllEqual(c, ins % 2 ? Guard::kAfter : Guard::kBefore);
      }
    }
  }
}

TEST(StaticConv2D, EqualRefAtRandomShapes) {
  Random random(4);
  for (const Width& width : kWidths) {
    for (int i = 0; i < Shapes(120); ++i) {
      StaticCase c;
      c.kernel_height = Uniform(random, 1, 4);
      c.kernel_width = Uniform(random, 1, 4);
      c.ins = Uniform(random, 1, 20);
      c.outs = Uniform(random, 1, 36);
      if (Uniform(random, 0, 1)) {
        c.multiplier = Uniform(random, 1, 2);
        c.outs = c.ins * c.multiplier;
      }
      c.num_bits = width.num_bits;
      if (width.codebook > 0) c.WholeCodebook(random, width.codebook);
      if (!c.Spatial(Uniform(random, 1, 3), Uniform(random, 1, 9),
                     Uniform(random, 1, 9), Uniform(random, 1, 3),
                     Uniform(random, 1, 2), Uniform(random, 0, 1) == 0)) {
        continue;
      }
      c.RandomStatic(random);
      ExpectAllEqual(c, i % 2 ? Guard::kAfter : Guard::kBefore);
    }
  }
}

TEST(StaticConv2D, NoOverflowAtExtremes) {
  Random random(5);
  for (const int ins : {1, 8, 127, 576, 2304}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const int code : {-128, 127}) {
        StaticCase c;
        c.ins = ins;
        c.outs = 17;
        c.num_bits = bits;
        c.FullyConnected(18);
        c.RandomStatic(random);
        c.to.input_zero_point = code > 0 ? -128 : 127;
        c.codes.assign(c.codes.size(), static_cast<int8_t>(code));
        for (const int symbol : {0, (1 << bits) - 1}) {
          c.symbols.assign(c.symbols.size(), static_cast<uint8_t>(symbol));
          ExpectAllEqual(c, Guard::kAfter);
        }
      }
    }
  }
}

TEST(StaticConv2DCreate, TakesWholeCodesOnly) {
  Random random(6);
  StaticCase c;
  c.ins = c.outs = 8;
  c.FullyConnected(1);
  c.RandomStatic(random);
  EXPECT_STREQ(StaticConv2D::Create(c.view(), true)->KernelName(),
               "static_conv2d_ref");
#ifdef TFC_X86_64
  if (__builtin_cpu_supports("avx2")) {
    EXPECT_STREQ(StaticConv2D::Create(c.view())->KernelName(),
                 "conv2d_u4_avx2_4x16");
  }
#endif
  c.codebook = {-4.0f, 0.5f, 7.0f};
  for (uint8_t& s : c.symbols) s %= 3;
  EXPECT_EQ(StaticConv2D::Create(c.view()), nullptr);
  c.codebook = {-4.0f, 0.0f, 128.0f};
  EXPECT_EQ(StaticConv2D::Create(c.view()), nullptr);
  c.codebook = {-128.0f, 0.0f, 127.0f};
  EXPECT_NE(StaticConv2D::Create(c.view()), nullptr);
}

}  // namespace
}  // namespace tfc

// Every quantization kernel gives the bits of the reference.
#include "kernels/quantize/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "conv_case.h"

namespace tfc {
namespace {

std::vector<const QuantizeKernel*> Available() {
  std::vector<const QuantizeKernel*> kernels = {&kQuantizeRef};
#ifdef TFC_X86_64
  if (__builtin_cpu_supports("avx2")) kernels.push_back(&kQuantizeAvx2);
#endif
#ifdef TFC_AARCH64
  kernels.push_back(&kQuantizeNeon);
#endif
  return kernels;
}

TEST(Quantize, RoundsHalvesToEven) {
  const float x[] = {0.5f,  1.5f,  2.5f,   -0.5f,  -1.5f,  -2.5f,
                     0.49f, 0.51f, 126.5f, 127.0f, -127.0f};
  const int8_t want[] = {0, 2, 2, 0, -2, -2, 0, 1, 126, 127, -127};
  for (const QuantizeKernel* kernel : Available()) {
    int8_t q[11];
    kernel->quantize(x, 11, 1.0f, q);
    for (int i = 0; i < 11; ++i) EXPECT_EQ(q[i], want[i]) << kernel->name;
  }
}

TEST(Quantize, EqualsRefAtEverySizeAndStaysInside) {
  Random random(1);
  std::normal_distribution<float> normal;
  for (int n = 0; n <= 260; ++n) {
    std::vector<float> values(n);
    for (float& v : values) v = normal(random);
    const uint32_t bits = kQuantizeRef.abs_max_bits(values.data(), n);
    const float inverse = ScaleOf(bits).inverse;
    std::vector<int8_t> want(n);
    kQuantizeRef.quantize(values.data(), n, inverse, want.data());
    for (const QuantizeKernel* kernel : Available()) {
      for (const Guard guard : {Guard::kBefore, Guard::kAfter}) {
        Guarded<float> x(values, guard);
        Guarded<int8_t> q(n, guard);
        EXPECT_EQ(kernel->abs_max_bits(x.data(), n), bits);
        kernel->quantize(x.data(), n, inverse, q.data());
        EXPECT_EQ(q.values(), want) << kernel->name << " " << n;
      }
    }
  }
}

TEST(Quantize, AbsMaxSeesTheLargestEverywhere) {
  const float specials[] = {-3.0f, std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::nanf(""), -std::nanf("")};
  for (const QuantizeKernel* kernel : Available()) {
    for (const int n : kAwkward) {
      for (int i = 0; i < n; ++i) {
        for (const float special : specials) {
          std::vector<float> x(n, 1.0f);
          x[i] = special;
          const uint32_t bits = kernel->abs_max_bits(x.data(), n);
          if (special == -3.0f) {
            ASSERT_EQ(ScaleOf(bits).scale, 3.0f / 127.0f);
          } else {
            ASSERT_TRUE(std::isnan(ScaleOf(bits).scale));
            ASSERT_EQ(ScaleOf(bits).inverse, 0.0f);
          }
        }
      }
    }
  }
}

TEST(Quantize, RowSumsEqualRef) {
  Random random(2);
  for (const int rows : {1, 2, 3, 4, 5, 9}) {
    for (int n = 8; n <= 136; n += 8) {
      const size_t stride = n + 8 * Uniform(random, 0, 2);
      Guarded<int8_t> q((rows - 1) * stride + n);
      for (size_t i = 0; i < q.size(); ++i) {
        q.data()[i] = static_cast<int8_t>(Uniform(random, -127, 127));
      }
      for (const int32_t factor : {1, 8, 1022}) {
        std::vector<int32_t> want(rows), got(rows);
        kQuantizeRef.row_sums(q.data(), stride, rows, n, factor, want.data());
        for (const QuantizeKernel* kernel : Available()) {
          kernel->row_sums(q.data(), stride, rows, n, factor, got.data());
          EXPECT_EQ(got, want) << kernel->name << " " << rows << " x " << n;
        }
      }
    }
  }
}

TEST(Quantize, RowSumsOfExtremesAreExactModulo32Bits) {
  for (const QuantizeKernel* kernel : Available()) {
    for (const int value : {127, -127}) {
      const std::vector<int8_t> q(100000, static_cast<int8_t>(value));
      int32_t sum;
      kernel->row_sums(q.data(), 0, 1, q.size(), 3, &sum);
      EXPECT_EQ(sum, 300000 * value);
      kernel->row_sums(q.data(), 0, 1, q.size(), 1022, &sum);
      EXPECT_EQ(
          sum, static_cast<int32_t>(102200000u * static_cast<uint32_t>(value)));
    }
  }
}

TEST(Quantize, LargestFloatStaysInRange) {
  const uint32_t bits = 0x7f7fffffu;
  const ImageScale scale = ScaleOf(bits);
  for (const QuantizeKernel* kernel : Available()) {
    std::vector<float> x(9, std::numeric_limits<float>::max());
    std::vector<int8_t> q(9);
    kernel->quantize(x.data(), 9, scale.inverse, q.data());
    EXPECT_EQ(q, std::vector<int8_t>(9, 127));
  }
}

}  // namespace
}  // namespace tfc

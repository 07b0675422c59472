// Activation quantization with NEON. Where n is no multiple of 8, the last
// vector overlaps the one before it, so nothing outside of x and q is touched.
#include <arm_neon.h>

#include <cmath>

#include "kernels/quantize/quantize.h"

namespace tfc {
namespace {

// Rows are added up in s16 as pairs: 128 x 2 x 127 = 32512.
constexpr size_t kSafeVectors = 128;

inline uint32x4_t AbsBits(const float* x) {
  return vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x)),
                   vdupq_n_u32(0x7fffffff));
}

uint32_t AbsMaxBits(const float* x, size_t n) {
  if (n < 4) return kQuantizeRef.abs_max_bits(x, n);
  // |x| orders as its bits do, and a NaN is above infinity.
  uint32x4_t m0 = AbsBits(x + n - 4), m1 = m0, m2 = m0, m3 = m0;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    m0 = vmaxq_u32(m0, AbsBits(x + i));
    m1 = vmaxq_u32(m1, AbsBits(x + i + 4));
    m2 = vmaxq_u32(m2, AbsBits(x + i + 8));
    m3 = vmaxq_u32(m3, AbsBits(x + i + 12));
  }
  for (; i + 4 <= n; i += 4) m0 = vmaxq_u32(m0, AbsBits(x + i));
  return vmaxvq_u32(vmaxq_u32(vmaxq_u32(m0, m1), vmaxq_u32(m2, m3)));
}

// Words of 8 codes: rounded to nearest, ties to even.
inline int16x8_t Scaled(const float* x, float scale) {
  const float32x4_t low = vmulq_n_f32(vld1q_f32(x), scale);
  const float32x4_t high = vmulq_n_f32(vld1q_f32(x + 4), scale);
  return vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(low)), vcvtnq_s32_f32(high));
}

void Quantize(const float* x, size_t n, float inverse_scale, int8_t* q) {
  if (n < 8) return kQuantizeRef.quantize(x, n, inverse_scale, q);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const int8x8_t low = vqmovn_s16(Scaled(x + i, inverse_scale));
    const int16x8_t high = Scaled(x + i + 8, inverse_scale);
    vst1q_s8(q + i, vqmovn_high_s16(low, high));
  }
  if (i + 8 <= n) {
    vst1_s8(q + i, vqmovn_s16(Scaled(x + i, inverse_scale)));
    i += 8;
  }
  if (i < n) {
    vst1_s8(q + n - 8, vqmovn_s16(Scaled(x + n - 8, inverse_scale)));
  }
}

template <int kRows>
inline void Sums(const int8_t* q, size_t stride, size_t n, int32_t factor,
                 int32_t* sums) {
  int32x4_t wide[kRows];
  for (int32x4_t& sum : wide) sum = vdupq_n_s32(0);
  size_t i = 0;
  while (i + 16 <= n) {
    const size_t left = (n - i) / 16;
    const size_t end = i + 16 * (left < kSafeVectors ? left : kSafeVectors);
    int16x8_t pairs[kRows];
    for (int16x8_t& sum : pairs) sum = vdupq_n_s16(0);
    for (; i < end; i += 16) {
      for (int r = 0; r < kRows; ++r) {
        pairs[r] = vpadalq_s8(pairs[r], vld1q_s8(q + r * stride + i));
      }
    }
    for (int r = 0; r < kRows; ++r) wide[r] = vpadalq_s16(wide[r], pairs[r]);
  }
  for (int r = 0; r < kRows; ++r) {
    int32_t sum = vaddvq_s32(wide[r]);
    if (i < n) sum += vaddlv_s8(vld1_s8(q + r * stride + i));
    sums[r] = static_cast<int32_t>(static_cast<uint32_t>(sum) *
                                   static_cast<uint32_t>(factor));
  }
}

void RowSums(const int8_t* q, size_t stride, int rows, size_t n, int32_t factor,
             int32_t* sums) {
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    Sums<4>(q + r * stride, stride, n, factor, sums + r);
  }
  for (; r < rows; ++r) Sums<1>(q + r * stride, 0, n, factor, sums + r);
}

}  // namespace

void QuantizeWordsNeon(const float* x, size_t n, float inverse_scale,
                       int16_t* q) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) vst1q_s16(q + i, Scaled(x + i, inverse_scale));
  if (i == n) return;
  if (n >= 8) return vst1q_s16(q + n - 8, Scaled(x + n - 8, inverse_scale));
  for (; i < n; ++i) {
    q[i] = static_cast<int16_t>(std::nearbyintf(x[i] * inverse_scale));
  }
}

const QuantizeKernel kQuantizeNeon = {"neon", AbsMaxBits, Quantize, RowSums};

}  // namespace tfc

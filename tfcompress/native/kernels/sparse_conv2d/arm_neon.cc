// Sparse products with NEON: smlal multiplies the columns of a nonzero weight
// with it and adds them up, in s32.
#include <arm_neon.h>

#include "kernels/arm_features.h"
#include "kernels/arm_outputs.h"
#include "kernels/sparse_conv2d/kernel.h"

namespace tfc {
namespace {

constexpr int kEight = 8;  // pixels of a vector of int16

// Transposes 4 vectors of 4 values.
inline void Transpose(int32x4_t (&v)[kQuad]) {
  const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(v[0], v[1]));
  const int64x2_t b = vreinterpretq_s64_s32(vtrn2q_s32(v[0], v[1]));
  const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(v[2], v[3]));
  const int64x2_t d = vreinterpretq_s64_s32(vtrn2q_s32(v[2], v[3]));
  v[0] = vreinterpretq_s32_s64(vtrn1q_s64(a, c));
  v[1] = vreinterpretq_s32_s64(vtrn1q_s64(b, d));
  v[2] = vreinterpretq_s32_s64(vtrn2q_s64(a, c));
  v[3] = vreinterpretq_s32_s64(vtrn2q_s64(b, d));
}

// The 4 floats at `x`, of which `count` exist.
template <bool kWhole>
inline float32x4_t Load(const float* x, int count) {
  if constexpr (kWhole) return vld1q_f32(x);
  float four[kQuad] = {};
  for (int i = 0; i < count; ++i) four[i] = x[i];
  return vld1q_f32(four);
}

// Up to 4 channels of 8 pixels.
template <bool kWhole>
inline void GatherFour(const float* const* pixels, int channel, int count,
                       float scale, int16_t* columns) {
  const auto codes = [&](int p) {
    const float32x4_t x = Load<kWhole>(pixels[p] + channel, count);
    return vcvtnq_s32_f32(vmulq_n_f32(x, scale));
  };
  int32x4_t v[kQuad];  // lanes of two pixels
#pragma GCC unroll 4
  for (int i = 0; i < kQuad; ++i) {
    v[i] = vsliq_n_s32(codes(2 * i), codes(2 * i + 1), 16);
  }
  Transpose(v);
  columns += size_t{1} * channel * kSparsePixels;
  const int stored = kWhole ? kQuad : count;
  for (int i = 0; i < stored; ++i) {
    vst1q_s16(columns + i * kSparsePixels, vreinterpretq_s16_s32(v[i]));
  }
}

void Gather(const float* const* pixels, int channels, float inverse_scale,
            int16_t* columns) {
  for (int first = 0; first < kSparsePixels; first += kEight) {
    int channel = 0;
    for (; channel + kQuad <= channels; channel += kQuad) {
      GatherFour<true>(pixels + first, channel, kQuad, inverse_scale,
                       columns + first);
    }
    if (channel < channels) {
      GatherFour<false>(pixels + first, channel, channels - channel,
                        inverse_scale, columns + first);
    }
  }
}

// Sums of one output channel, for 8 pixels times kEights.
template <int kEights>
inline void Sum(const int16_t* columns, const SparsePair* pair,
                const SparsePair* end, int32_t* sums) {
  int32x4_t low[kEights], high[kEights];
  for (int32x4_t& sum : low) sum = vdupq_n_s32(0);
  for (int32x4_t& sum : high) sum = vdupq_n_s32(0);
  for (; pair != end; ++pair) {
    // Both weights, and the depths behind them.
    const int16x4_t w = vld1_s16(reinterpret_cast<const int16_t*>(pair));
    const int16_t* a = columns + size_t{pair->depths[0]} * kSparsePixels;
    const int16_t* b = columns + size_t{pair->depths[1]} * kSparsePixels;
#pragma GCC unroll 4
    for (int i = 0; i < kEights; ++i) {
      const int16x8_t x = vld1q_s16(a + i * kEight);
      const int16x8_t z = vld1q_s16(b + i * kEight);
      low[i] = vmlal_lane_s16(low[i], vget_low_s16(x), w, 0);
      high[i] = vmlal_high_lane_s16(high[i], x, w, 0);
      low[i] = vmlal_lane_s16(low[i], vget_low_s16(z), w, 1);
      high[i] = vmlal_high_lane_s16(high[i], z, w, 1);
    }
  }
  for (int i = 0; i < kEights; ++i) {
    vst1q_s32(sums + i * kEight, low[i]);
    vst1q_s32(sums + i * kEight + kQuad, high[i]);
  }
}

template <int kEights>
void Outs(const SparseProduct& p) {
  int32_t sums[kQuad][kSparsePixels] = {};
  const SparsePair* pair = p.pairs;
  for (int out = 0; out < p.out_channels; out += kQuad) {
    for (int o = 0; o < kQuad && out + o < p.out_channels; ++o) {
      const SparsePair* end = p.pairs + p.ends[out + o];
      Sum<kEights>(p.columns, pair, end, sums[o]);
      pair = end;
    }
    const FourOutputs outputs(p.scales, p.bias, p.activation, out,
                              p.out_channels);
    for (int pixel = 0; pixel < p.pixels; pixel += kQuad) {
      int32x4_t v[kQuad];
      for (int o = 0; o < kQuad; ++o) v[o] = vld1q_s32(sums[o] + pixel);
      Transpose(v);
      float* y = p.y + size_t{1} * pixel * p.out_channels;
#pragma GCC unroll 4
      for (int i = 0; i < kQuad; ++i, y += p.out_channels) {
        if (pixel + i < p.pixels) outputs.Store(v[i], p.image_scale, y);
      }
    }
  }
}

void Multiply(const SparseProduct& p) {
  if (p.pixels > 2 * kEight) {
    Outs<kSparsePixels / kEight>(p);
  } else {
    Outs<2>(p);
  }
}

}  // namespace

extern const SparseConv2DKernel sparse_conv2d_neon_32x4;

// sdot multiplies zeros, too, for 0.16 of what smlal takes for each of the
// others (tools/model_aarch64, Neoverse N1).
const SparseConv2DKernel sparse_conv2d_neon_32x4 = {"sparse_conv2d_neon_32x4",
                                                    [] { return true; },
                                                    &kQuantizeNeon,
                                                    Gather,
                                                    Multiply,
                                                    HasDotprod() ? 0.85 : 0.0};

}  // namespace tfc

// Sparse products with AVX2: the columns of two nonzero weights are
// interleaved, so that vpmaddwd multiplies both and adds them up, in s32.
#include <immintrin.h>

#include <cstring>

#include "kernels/sparse_conv2d/kernel.h"
#include "kernels/x86_outputs.h"

namespace tfc {
namespace {

constexpr int kHalf = 16;  // pixels of a vector of int16
constexpr int kOuts = 16;  // whose sums are transposed together

// A column of 16 pixels is stored in this order, by twos, so that the unpacks,
// which work inside of 128-bit halves, give pixels 0-7 and 8-15.
constexpr int kOrder[kEight] = {0, 2, 8, 10, 4, 6, 12, 14};

// Transposes 8 vectors of 8 values of 32 bits.
inline void Transpose(__m256i (&v)[kEight]) {
  __m256i t[kEight], u[kEight];
  for (int i = 0; i < kEight; i += 2) {
    t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < kEight; i += 4) {
    u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    v[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}

// Up to 8 channels of 16 pixels.
template <bool kWhole>
inline void GatherEight(const float* const* pixels, int channel, int count,
                        __m256 scale, int16_t* columns) {
  const __m256i mask = LanesBelow(count);
  const auto codes = [&](int p) {
    const float* x = pixels[p] + channel;
    const __m256 v = kWhole ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, mask);
    return _mm256_cvtps_epi32(_mm256_mul_ps(v, scale));
  };
  __m256i v[kEight];
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) {
    const int p = kOrder[i];
    v[i] =
        _mm256_blend_epi16(codes(p), _mm256_slli_epi32(codes(p + 1), 16), 0xaa);
  }
  Transpose(v);
  columns += size_t{1} * channel * kSparsePixels;
  const int stored = kWhole ? kEight : count;
#pragma GCC unroll 8
  for (int i = 0; i < stored; ++i) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(columns + i * kSparsePixels),
                        v[i]);
  }
}

void Gather(const float* const* pixels, int channels, float inverse_scale,
            int16_t* columns) {
  const __m256 scale = _mm256_set1_ps(inverse_scale);
  for (int half = 0; half < kSparsePixels; half += kHalf) {
    int channel = 0;
    for (; channel + kEight <= channels; channel += kEight) {
      GatherEight<true>(pixels + half, channel, kEight, scale, columns + half);
    }
    if (channel < channels) {
      GatherEight<false>(pixels + half, channel, channels - channel, scale,
                         columns + half);
    }
  }
}

// Sums of one output channel, for 16 pixels times kHalves.
template <int kHalves>
inline void Sum(const int16_t* columns, const SparsePair* pair,
                const SparsePair* end, int32_t* sums) {
  __m256i sum[2 * kHalves];
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (; pair != end; ++pair) {
    int weights;
    std::memcpy(&weights, pair->weights, sizeof(weights));
    const __m256i w = _mm256_set1_epi32(weights);
    const int16_t* a = columns + size_t{pair->depths[0]} * kSparsePixels;
    const int16_t* b = columns + size_t{pair->depths[1]} * kSparsePixels;
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const __m256i x =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + h * kHalf));
      const __m256i z =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + h * kHalf));
      sum[2 * h] = _mm256_add_epi32(
          sum[2 * h], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, z), w));
      sum[2 * h + 1] = _mm256_add_epi32(
          sum[2 * h + 1], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, z), w));
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 2 * kHalves; ++i) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + i * kEight), sum[i]);
  }
}

// Outputs of 8 channels and up to 8 pixels from their sums, which are
// kSparsePixels apart from channel to channel.
void Write(const SparseProduct& p, const Range& range, const int32_t* sums,
           int pixel, int out) {
  const EightOuts outs(p.scales, p.bias, out, p.out_channels);
  const __m256 scale = _mm256_mul_ps(outs.scale, _mm256_set1_ps(p.image_scale));
  const Range activate = range;
  const size_t stride = p.out_channels;
  __m256i v[kEight];
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) {
    v[i] = _mm256_load_si256(
        reinterpret_cast<const __m256i*>(sums + i * kSparsePixels));
  }
  Transpose(v);
  float* y = p.y + pixel * stride + out;
  const int count = p.pixels - pixel;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i, y += stride) {
    if (i >= count) return;
    const __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(v[i]), scale);
    outs.Write(activate.Clamp(_mm256_add_ps(f, outs.bias)), y);
  }
}

template <int kHalves>
void Outs(const SparseProduct& p) {
  alignas(32) int32_t sums[kOuts * kSparsePixels] = {};
  const Range range(p.activation);
  const SparsePair* pair = p.pairs;
  for (int out = 0; out < p.out_channels; out += kOuts) {
    const int count =
        out + kOuts < p.out_channels ? kOuts : p.out_channels - out;
    for (int o = 0; o < count; ++o) {
      const SparsePair* end = p.pairs + p.ends[out + o];
      Sum<kHalves>(p.columns, pair, end, sums + o * kSparsePixels);
      pair = end;
    }
    for (int pixel = 0; pixel < p.pixels; pixel += kEight) {
      Write(p, range, sums + pixel, pixel, out);
      if (count > kEight) {
        Write(p, range, sums + kEight * kSparsePixels + pixel, pixel,
              out + kEight);
      }
    }
  }
}

void Multiply(const SparseProduct& p) {
  if (p.pixels > kHalf) {
    Outs<2>(p);
  } else {
    Outs<1>(p);
  }
}

}  // namespace

extern const SparseConv2DKernel sparse_conv2d_avx2_32x16;

const SparseConv2DKernel sparse_conv2d_avx2_32x16 = {
    "sparse_conv2d_avx2_32x16", HasAvx2, &kQuantizeAvx2, Gather, Multiply};

}  // namespace tfc

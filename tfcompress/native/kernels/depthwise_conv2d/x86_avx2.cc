// Rows of depthwise outputs with AVX2. Sums in s16 add up the products of one
// tap after the other. For those in s32, codes of two taps are interleaved, so
// that vpmaddwd multiplies both with their weights and adds them up.
#include <immintrin.h>

#include "kernels/depthwise_conv2d/kernel.h"
#include "kernels/x86_outputs.h"

namespace tfc {
namespace {

constexpr int kLanes = kDepthwiseLanes;

inline __m256i Load(const int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// Outputs of 8 channels from `channel` on, from their sums.
template <int kCount>
inline void Store(const DepthwiseRow& row, const Range& range, int first,
                  int channel, const __m256i (&sums)[kCount]) {
  const EightOuts outs(row.scales, row.bias, channel, row.channels);
  if (outs.count <= 0) return;
  // Locals, because a store to y could change any field.
  const size_t stride = row.channels;
  float* y = row.y + first * stride + channel;
  const __m256 scale =
      _mm256_mul_ps(outs.scale, _mm256_set1_ps(row.image_scale));
  const Range activate = range;
  __m256 v[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
    v[p] = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[p]), scale);
    v[p] = activate.Clamp(_mm256_add_ps(v[p], outs.bias));
    if (row.sums_only) v[p] = _mm256_castsi256_ps(sums[p]);
  }
  if (outs.count >= kEight) {
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) _mm256_storeu_ps(y + p * stride, v[p]);
  } else {
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) outs.Write(v[p], y + p * stride);
  }
}

// kCount outputs of one block of lanes.
template <int kCount>
inline void Outputs(const DepthwiseRow& row, int first, int channel,
                    const int16_t* w, const Range& range) {
  const size_t at = first * row.step + channel;
  // The unpacks work inside of 128-bit halves: lanes 0-3 and 8-11, 4-7 and
  // 12-15.
  __m256i even[kCount], odd[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) even[p] = odd[p] = _mm256_setzero_si256();
  for (int pair = 0; pair < row.pairs; ++pair, w += 2 * kLanes) {
    const int16_t* a = row.taps[2 * pair] + at;
    const int16_t* b = row.taps[2 * pair + 1] + at;
    const __m256i v = Load(w), u = Load(w + kLanes);
    const __m256i w_even = _mm256_permute2x128_si256(v, u, 0x20);
    const __m256i w_odd = _mm256_permute2x128_si256(v, u, 0x31);
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      const __m256i x = Load(a + p * row.step), z = Load(b + p * row.step);
      AddInts(&even[p], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, z), w_even));
      AddInts(&odd[p], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, z), w_odd));
    }
  }
  __m256i sums[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
    sums[p] = _mm256_permute2x128_si256(even[p], odd[p], 0x20);
  }
  Store(row, range, first, channel, sums);
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
    sums[p] = _mm256_permute2x128_si256(even[p], odd[p], 0x31);
  }
  Store(row, range, first, channel + kEight, sums);
}

// The same with sums in s16.
template <int kCount>
inline void NarrowOutputs(const DepthwiseRow& row, int first, int channel,
                          const int16_t* w, const Range& range) {
  const size_t at = first * row.step + channel;
  __m256i words[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) words[p] = _mm256_setzero_si256();
  for (int tap = 0; tap < 2 * row.pairs; ++tap, w += kLanes) {
    const int16_t* a = row.taps[tap] + at;
    const __m256i v = Load(w);
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      AddWords(&words[p], _mm256_mullo_epi16(Load(a + p * row.step), v));
    }
  }
  __m256i sums[kCount];
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
    sums[p] = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(words[p]));
  }
  Store(row, range, first, channel, sums);
#pragma GCC unroll 8
  for (int p = 0; p < kCount; ++p) {
    sums[p] = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(words[p], 1));
  }
  Store(row, range, first, channel + kEight, sums);
}

template <bool kNarrow, int kCount>
void Blocks(const DepthwiseRow& row, int first, const Range& range) {
  const int16_t* w = row.weights;
  for (int channel = 0; channel < row.channels; channel += kLanes) {
    if constexpr (kNarrow) {
      NarrowOutputs<kCount>(row, first, channel, w, range);
    } else {
      Outputs<kCount>(row, first, channel, w, range);
    }
    w += size_t{2} * kLanes * row.pairs;
  }
}

template <bool kNarrow, int kTile>
void Tiles(const DepthwiseRow& row, const Range& range) {
  int first = 0;
  for (; first + kTile <= row.outputs; first += kTile) {
    Blocks<kNarrow, kTile>(row, first, range);
  }
  // Some outputs once more: it costs less than each of the rest alone.
  if (first < row.outputs) {
    Blocks<kNarrow, kTile>(row, row.outputs - kTile, range);
  }
}

template <bool kNarrow>
void Row(const DepthwiseRow& row) {
  const Range range(row.activation);
  // 7 divides the widths of most networks: 112, 56, 28, 14, 7.
  if (kNarrow && row.outputs >= 7) return Tiles<kNarrow, 7>(row, range);
  if (row.outputs >= 4) return Tiles<kNarrow, 4>(row, range);
  Tiles<kNarrow, 1>(row, range);
}

}  // namespace

extern const DepthwiseKernel depthwise_conv2d_s16_avx2_7x16;
extern const DepthwiseKernel depthwise_conv2d_avx2_4x16;

const DepthwiseKernel depthwise_conv2d_s16_avx2_7x16 = {
    "depthwise_conv2d_s16_avx2_7x16",
    HasAvx2,
    &kQuantizeAvx2,
    QuantizeWordsAvx2,
    Row<true>,
    &kRequantizeAvx2,
    DepthwisePacking::kTaps};
const DepthwiseKernel depthwise_conv2d_avx2_4x16 = {
    "depthwise_conv2d_avx2_4x16",
    HasAvx2,
    &kQuantizeAvx2,
    QuantizeWordsAvx2,
    Row<false>,
    &kRequantizeAvx2,
    DepthwisePacking::kPairs};

}  // namespace tfc

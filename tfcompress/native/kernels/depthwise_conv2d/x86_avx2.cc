// Rows of depthwise outputs with AVX2: codes of two taps are interleaved, so
// that vpmaddwd multiplies both with their weights and adds them up, in s32.
#include <immintrin.h>

#include <limits>

#include "kernels/depthwise_conv2d/kernel.h"

namespace tfc {
namespace {

constexpr int kTile = 4;  // outputs
constexpr int kLanes = kDepthwiseLanes;

inline __m256i Load(const int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// What the outputs of 8 channels have in common.
struct Channels {
  __m256i mask;  // lanes that exist
  int count;
  __m256 scale, bias;

  Channels(const DepthwiseRow& row, int first) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    count = row.channels - first;
    mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
    scale = bias = _mm256_setzero_ps();
    if (count <= 0) return;
    scale = _mm256_mul_ps(_mm256_maskload_ps(row.scales + first, mask),
                          _mm256_set1_ps(row.image_scale));
    if (row.bias != nullptr) bias = _mm256_maskload_ps(row.bias + first, mask);
  }
};

// The least and the greatest output of an activation.
struct Range {
  __m256 low, high;

  explicit Range(Activation activation) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    low = _mm256_set1_ps(activation == Activation::kNone ? -kInfinity : 0.0f);
    high = _mm256_set1_ps(activation == Activation::kRelu6 ? 6.0f : kInfinity);
  }

  void Store(const Channels& channels, __m256i sum, float* y) const {
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), channels.scale);
    v = _mm256_add_ps(v, channels.bias);
    // The second operand is the result where one of them is a NaN.
    v = _mm256_min_ps(high, _mm256_max_ps(low, v));
    if (channels.count >= 8) {
      _mm256_storeu_ps(y, v);
    } else if (channels.count > 0) {
      _mm256_maskstore_ps(y, channels.mask, v);
    }
  }
};

// kCount outputs of one block of lanes.
template <int kCount>
inline void Outputs(const DepthwiseRow& row, int first, int channel,
                    const int16_t* w, const Range& range) {
  const size_t at = first * row.step + channel;
  // The unpacks work inside of 128-bit halves: lanes 0-3 and 8-11, 4-7 and
  // 12-15.
  __m256i even[kCount], odd[kCount];
  for (__m256i& sum : even) sum = _mm256_setzero_si256();
  for (__m256i& sum : odd) sum = _mm256_setzero_si256();
  for (int pair = 0; pair < row.pairs; ++pair, w += 2 * kLanes) {
    const int16_t* a = row.taps[2 * pair] + at;
    const int16_t* b = row.taps[2 * pair + 1] + at;
    const __m256i v = Load(w), u = Load(w + kLanes);
    const __m256i w_even = _mm256_permute2x128_si256(v, u, 0x20);
    const __m256i w_odd = _mm256_permute2x128_si256(v, u, 0x31);
#pragma GCC unroll 4
    for (int p = 0; p < kCount; ++p) {
      const __m256i x = Load(a + p * row.step), z = Load(b + p * row.step);
      even[p] = _mm256_add_epi32(
          even[p], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, z), w_even));
      odd[p] = _mm256_add_epi32(
          odd[p], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, z), w_odd));
    }
  }
  const Channels low(row, channel), high(row, channel + 8);
  for (int p = 0; p < kCount; ++p) {
    float* y = row.y + size_t{1} * (first + p) * row.channels + channel;
    range.Store(low, _mm256_permute2x128_si256(even[p], odd[p], 0x20), y);
    range.Store(high, _mm256_permute2x128_si256(even[p], odd[p], 0x31), y + 8);
  }
}

template <int kCount>
void Blocks(const DepthwiseRow& row, int first, const Range& range) {
  const int16_t* w = row.weights;
  for (int channel = 0; channel < row.channels; channel += kLanes) {
    Outputs<kCount>(row, first, channel, w, range);
    w += size_t{2} * kLanes * row.pairs;
  }
}

void Row(const DepthwiseRow& row) {
  const Range range(row.activation);
  int first = 0;
  for (; first + kTile <= row.outputs; first += kTile) {
    Blocks<kTile>(row, first, range);
  }
  for (; first < row.outputs; ++first) Blocks<1>(row, first, range);
}

}  // namespace

extern const DepthwiseKernel depthwise_conv2d_avx2_4x16;

const DepthwiseKernel depthwise_conv2d_avx2_4x16 = {
    "depthwise_conv2d_avx2_4x16",
    [] { return static_cast<bool>(__builtin_cpu_supports("avx2")); },
    &kQuantizeAvx2, QuantizeWordsAvx2, Row};

}  // namespace tfc

// What the AVX2 kernels of conv2d share: reading weights and activations, and
// writing outputs. Only for files that are compiled for AVX2.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_H_

#include <immintrin.h>

#include <limits>

#include "kernels/conv2d/kernel.h"

namespace tfc {

// For weights of kByte or kPalette; Product::scratch has 32 bytes for each
// depth, and 2 more for each depth of each row.
void MultiplyManyRows(const Product& product, Packing packing);

namespace {

inline __m256i Load(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline __m256i LowNibbles(__m256i v) {
  return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

inline __m256i HighNibbles(__m256i v) {
  return LowNibbles(_mm256_srli_epi16(v, 4));
}

inline __m256i Broadcast4(const int8_t* a) {
  int value;
  __builtin_memcpy(&value, a, sizeof(value));
  return _mm256_set1_epi32(value);
}

// Sums in place, now: GCC 12 otherwise keeps all products of an unrolled loop
// for one sum at its end, and spills every register (159 instead of 250 GOPS).
inline void AddWords(__m256i* sum, __m256i v) {
  asm("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(v));
}

// Asks for `bytes` of weights that are needed in some 100 ns. A row through
// 4096 x 4096 of 4 bits takes 0.75 ms without, 0.45 ms with it where the
// caches are cold, and the same as without where they are warm (Zen 3).
inline void Prefetch(const uint8_t* w, int bytes) {
  constexpr int kAhead = 2048;
  for (int i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(w) + kAhead + i, _MM_HINT_T0);
  }
}

// What the outputs of 8 columns have in common.
struct Columns {
  __m256i mask;  // lanes that exist
  bool whole;
  __m256 scale, bias;

  void Set(const Product& p, int column) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i left = _mm256_set1_epi32(p.out_channels - column);
    mask = _mm256_cmpgt_epi32(left, lane);
    whole = column + 8 <= p.out_channels;
    scale = bias = _mm256_setzero_ps();
    if (column >= p.out_channels) return;
    scale = _mm256_maskload_ps(p.scales + column, mask);
    if (p.bias != nullptr) bias = _mm256_maskload_ps(p.bias + column, mask);
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
};

template <int kTile>
inline void Store(const Product& p, int row, const Columns& columns,
                  const Range& range, float* y, const __m256i (&sums)[kTile]) {
  // Locals, because a store to y could change any field.
  const int32_t* shifts = p.shifts + row;
  const float* row_scales = p.row_scales + row;
  const size_t stride = p.out_channels;
  const __m256 scale = columns.scale, bias = columns.bias;
  const __m256 low = range.low, high = range.high;
  __m256 v[kTile];
#pragma GCC unroll 8
  for (int r = 0; r < kTile; ++r) {
    const __m256i sum = _mm256_sub_epi32(sums[r], _mm256_set1_epi32(shifts[r]));
    if (p.sums_only) {
      v[r] = _mm256_castsi256_ps(sum);
      continue;
    }
    v[r] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum),
                         _mm256_mul_ps(scale, _mm256_set1_ps(row_scales[r])));
    // The second operand is the result where one of them is a NaN.
    v[r] = _mm256_max_ps(low, _mm256_add_ps(v[r], bias));
    v[r] = _mm256_min_ps(high, v[r]);
  }
  if (columns.whole) {
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) _mm256_storeu_ps(y + r * stride, v[r]);
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
      _mm256_maskstore_ps(y + r * stride, columns.mask, v[r]);
    }
  }
}

inline bool HasAvx2() { return __builtin_cpu_supports("avx2"); }

}  // namespace
}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_H_

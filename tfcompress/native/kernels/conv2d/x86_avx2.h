// What the AVX2 kernels of conv2d share: reading weights and activations, and
// writing outputs. Only for files that are compiled for AVX2.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_H_

#include <immintrin.h>

#include "kernels/conv2d/kernel.h"
#include "kernels/x86_outputs.h"

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

// Asks for `bytes` of weights that are needed in some 100 ns. A row through
// 4096 x 4096 of 4 bits takes 0.75 ms without, 0.45 ms with it where the
// caches are cold, and the same as without where they are warm (Zen 3).
inline void Prefetch(const uint8_t* w, int bytes) {
  constexpr int kAhead = 2048;
  for (int i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(w) + kAhead + i, _MM_HINT_T0);
  }
}

inline EightOuts Columns(const Product& p, int column) {
  return EightOuts(p.scales, p.bias, column, p.out_channels);
}

template <int kTile>
inline void Store(const Product& p, int row, const EightOuts& columns,
                  const Range& range, float* y, const __m256i (&sums)[kTile]) {
  // Locals, because a store to y could change any field.
  const int32_t* shifts = p.shifts + row;
  const float* row_scales = p.row_scales + row;
  const size_t stride = p.out_channels;
  const __m256 scale = columns.scale, bias = columns.bias;
  const Range activate = range;
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
    v[r] = activate.Clamp(_mm256_add_ps(v[r], bias));
  }
  if (columns.count >= kEight) {
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) _mm256_storeu_ps(y + r * stride, v[r]);
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
      _mm256_maskstore_ps(y + r * stride, columns.mask, v[r]);
    }
  }
}

}  // namespace
}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_H_

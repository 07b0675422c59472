// Activation quantization with AVX2. Where n is no multiple of 8, the last
// vector overlaps the one before it, so nothing outside of x and q is touched.
#include <immintrin.h>

#include "kernels/quantize/quantize.h"

namespace tfc {
namespace {

inline __m256i AbsBits(const float* x) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
}

uint32_t AbsMaxBits(const float* x, size_t n) {
  if (n < 8) return kQuantizeRef.abs_max_bits(x, n);
  // |x| orders as its bits do, and a NaN is above infinity.
  __m256i m0 = AbsBits(x + n - 8), m1 = m0, m2 = m0, m3 = m0;
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    m0 = _mm256_max_epi32(m0, AbsBits(x + i));
    m1 = _mm256_max_epi32(m1, AbsBits(x + i + 8));
    m2 = _mm256_max_epi32(m2, AbsBits(x + i + 16));
    m3 = _mm256_max_epi32(m3, AbsBits(x + i + 24));
  }
  for (; i + 8 <= n; i += 8) m0 = _mm256_max_epi32(m0, AbsBits(x + i));
  m0 = _mm256_max_epi32(_mm256_max_epi32(m0, m1), _mm256_max_epi32(m2, m3));
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(m0),
                            _mm256_extracti128_si256(m0, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(m));
}

inline __m256i Scaled(const float* x, __m256 scale) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), scale));
}

inline void Quantize8(const float* x, __m256 scale, int8_t* q) {
  const __m256i v = Scaled(x, scale);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v),
                                        _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(q),
                   _mm_packs_epi16(words, words));
}

void Quantize(const float* x, size_t n, float inverse_scale, int8_t* q) {
  if (n < 8) return kQuantizeRef.quantize(x, n, inverse_scale, q);
  const __m256 scale = _mm256_set1_ps(inverse_scale);
  // The packs work inside 128-bit halves; this puts their dwords in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i low =
        _mm256_packs_epi32(Scaled(x + i, scale), Scaled(x + i + 8, scale));
    const __m256i high = _mm256_packs_epi32(Scaled(x + i + 16, scale),
                                            Scaled(x + i + 24, scale));
    const __m256i bytes = _mm256_packs_epi16(low, high);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i),
                        _mm256_permutevar8x32_epi32(bytes, order));
  }
  for (; i + 8 <= n; i += 8) Quantize8(x + i, scale, q + i);
  if (i < n) Quantize8(x + n - 8, scale, q + n - 8);
}

inline void QuantizeWords8(const float* x, __m256 scale, int16_t* q) {
  const __m256i v = Scaled(x, scale);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(q),
                   _mm_packs_epi32(_mm256_castsi256_si128(v),
                                   _mm256_extracti128_si256(v, 1)));
}

// The sums of 32 codes in 8 parts, or of 8 codes in 4.
inline __m256i Parts(const int8_t* q) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), v);
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

inline __m128i Parts8(const int8_t* q) {
  const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(q));
  const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), v);
  return _mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

// 4 rows together; `stride` 0 gives 4 times the same row.
inline __m128i FourSums(const int8_t* q, size_t stride, size_t n) {
  __m256i wide[4];
  for (__m256i& sum : wide) sum = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int r = 0; r < 4; ++r) {
      wide[r] = _mm256_add_epi32(wide[r], Parts(q + r * stride + i));
    }
  }
  __m128i sums[4];
  for (int r = 0; r < 4; ++r) {
    sums[r] = _mm_add_epi32(_mm256_castsi256_si128(wide[r]),
                            _mm256_extracti128_si256(wide[r], 1));
  }
  for (; i < n; i += 8) {
    for (int r = 0; r < 4; ++r) {
      sums[r] = _mm_add_epi32(sums[r], Parts8(q + r * stride + i));
    }
  }
  return _mm_hadd_epi32(_mm_hadd_epi32(sums[0], sums[1]),
                        _mm_hadd_epi32(sums[2], sums[3]));
}

void RowSums(const int8_t* q, size_t stride, int rows, size_t n, int32_t factor,
             int32_t* sums) {
  const __m128i factors = _mm_set1_epi32(factor);
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    const __m128i four = FourSums(q + r * stride, stride, n);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + r),
                     _mm_mullo_epi32(four, factors));
  }
  for (; r < rows; ++r) {
    const __m128i same = FourSums(q + r * stride, 0, n);
    sums[r] = _mm_cvtsi128_si32(_mm_mullo_epi32(same, factors));
  }
}

}  // namespace

void QuantizeWordsAvx2(const float* x, size_t n, float inverse_scale,
                       int16_t* q) {
  if (n < 8) {
    int8_t few[8];
    kQuantizeRef.quantize(x, n, inverse_scale, few);
    for (size_t i = 0; i < n; ++i) q[i] = few[i];
    return;
  }
  const __m256 scale = _mm256_set1_ps(inverse_scale);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) QuantizeWords8(x + i, scale, q + i);
  if (i < n) QuantizeWords8(x + n - 8, scale, q + n - 8);
}

const QuantizeKernel kQuantizeAvx2 = {"avx2", AbsMaxBits, Quantize, RowSums};

}  // namespace tfc

// Requantization with AVX2, 8 channels at a time.
#include <immintrin.h>

#include <cstring>

#include "kernels/requantize/requantize.h"

namespace tfc {
namespace {

inline __m256i Load(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// round(a * b / 2^31), ties up. Even and odd lanes go their own way in 64 bits.
inline __m256i DoublingHighProduct(__m256i a, __m256i b) {
  const __m256i nudge = _mm256_set1_epi64x(int64_t{1} << 30);
  const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(a, b), nudge);
  const __m256i odd = _mm256_add_epi64(
      _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)),
      nudge);
  return _mm256_blend_epi32(_mm256_srli_epi64(even, 31),
                            _mm256_slli_epi64(odd, 1), 0xaa);
}

// round(v / 2^exponent), ties away from zero.
inline __m256i DivideByPowerOfTwo(__m256i v, __m256i exponent) {
  const __m256i one = _mm256_set1_epi32(1);
  const __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, exponent), one);
  const __m256i negative = _mm256_srai_epi32(v, 31);  // -1 or 0
  const __m256i threshold =
      _mm256_sub_epi32(_mm256_srai_epi32(mask, 1), negative);
  const __m256i up =
      _mm256_cmpgt_epi32(_mm256_and_si256(v, mask), threshold);  // -1 or 0
  return _mm256_sub_epi32(_mm256_srav_epi32(v, exponent), up);
}

void Row(const int32_t* sums, int32_t factor, const int32_t* offsets,
         const Requantization& to, int channels, int8_t* y) {
  const __m256i factors = _mm256_set1_epi32(factor);
  const __m256i zero_point = _mm256_set1_epi32(to.output_zero_point);
  const __m256i least = _mm256_set1_epi32(to.least);
  const __m256i greatest = _mm256_set1_epi32(to.greatest);
  const __m256i zero = _mm256_setzero_si256();
  int o = 0;
  for (; o + 8 <= channels; o += 8) {
    __m256i v = _mm256_add_epi32(_mm256_mullo_epi32(Load(sums + o), factors),
                                 Load(offsets + o));
    const __m256i shift = Load(to.shifts + o);
    v = _mm256_sllv_epi32(v, _mm256_max_epi32(shift, zero));
    v = DoublingHighProduct(v, Load(to.multipliers + o));
    v = DivideByPowerOfTwo(
        v, _mm256_max_epi32(_mm256_sub_epi32(zero, shift), zero));
    v = _mm256_add_epi32(v, zero_point);
    v = _mm256_min_epi32(greatest, _mm256_max_epi32(least, v));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v),
                                          _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y + o),
                     _mm_packs_epi16(words, words));
  }
  Requantization rest = to;
  rest.multipliers += o;
  rest.shifts += o;
  kRequantizeRef.row(sums + o, factor, offsets + o, rest, channels - o, y + o);
}

}  // namespace

const RequantizeKernel kRequantizeAvx2 = {"avx2", Row};

}  // namespace tfc

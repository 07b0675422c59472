// Popcounts by vpshufb: a word of one row against that word of 8 outs.
#include <immintrin.h>

#include "kernels/binary_conv2d/kernel.h"
#include "kernels/x86_outputs.h"

namespace tfc {
namespace {

constexpr int kRows = 4;
constexpr int kSafeWords = 31;  // 31 x 8 ones fit a byte

bool Pack(const float* x, int n, uint32_t* words) {
  const __m256 zero = _mm256_setzero_ps();
  __m256 bad = zero;
  int i = 0;
  uint32_t word = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    bad = _mm256_or_ps(bad, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const int bits = _mm256_movemask_ps(_mm256_cmp_ps(v, zero, _CMP_GE_OQ));
    word |= static_cast<uint32_t>(bits) << i % kSignBits;
    if ((i + 8) % kSignBits == 0) {
      *words++ = word;
      word = 0;
    }
  }
  bool good = _mm256_movemask_ps(bad) == 0;
  for (; i < n; ++i) {
    good = good && x[i] == x[i];
    word |= static_cast<uint32_t>(x[i] >= 0.0f) << i % kSignBits;
  }
  if (n % kSignBits != 0) *words = word;
  return good;
}

inline __m256i Ones(__m256i v) {
  const __m256i counts = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i mask = _mm256_set1_epi8(15);
  const __m256i low = _mm256_and_si256(v, mask);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
  return _mm256_add_epi8(_mm256_shuffle_epi8(counts, low),
                         _mm256_shuffle_epi8(counts, high));
}

template <int kTile>
inline void Count(const SignProduct& p, int row, const uint32_t* w,
                  __m256i (&different)[kTile]) {
  const __m256i one = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  const uint32_t* a = p.a + size_t{1} * row * p.words;
  for (__m256i& sum : different) sum = _mm256_setzero_si256();
  for (int first = 0; first < p.words; first += kSafeWords) {
    const int end = first + kSafeWords < p.words ? first + kSafeWords : p.words;
    __m256i bytes[kTile];
    for (__m256i& sum : bytes) sum = _mm256_setzero_si256();
    for (int k = first; k < end; ++k) {
      const __m256i weights = _mm256_loadu_si256(
          reinterpret_cast<const __m256i*>(w + k * kSignColumns));
#pragma GCC unroll 4
      for (int r = 0; r < kTile; ++r) {
        const __m256i x =
            _mm256_set1_epi32(static_cast<int>(a[size_t{1} * r * p.words + k]));
        bytes[r] =
            _mm256_add_epi8(bytes[r], Ones(_mm256_xor_si256(x, weights)));
      }
    }
    for (int r = 0; r < kTile; ++r) {
      const __m256i words = _mm256_maddubs_epi16(bytes[r], one);
      different[r] =
          _mm256_add_epi32(different[r], _mm256_madd_epi16(words, ones));
    }
  }
}

template <int kTile>
void Tile(const SignProduct& p, int row, int column, const uint32_t* w,
          const EightOuts& outs) {
  __m256i different[kTile];
  Count(p, row, w, different);
  const Range range(p.activation);
  for (int r = 0; r < kTile; ++r) {
    const __m256i offset = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(
        p.offsets + (row + r) * p.offset_stride + column));
    const __m256i twice = _mm256_add_epi32(different[r], different[r]);
    const __m256 sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(offset, twice));
    const __m256 v = _mm256_mul_ps(
        sum, _mm256_mul_ps(outs.scale, _mm256_set1_ps(p.factors[row + r])));
    outs.Write(range.Clamp(_mm256_add_ps(v, outs.bias)),
               p.y + size_t{1} * (row + r) * p.out_channels + column);
  }
}

void Multiply(const SignProduct& p) {
  const uint32_t* w = p.weights;
  for (int column = 0; column < p.out_channels; column += kSignColumns) {
    const EightOuts outs(p.scales, p.bias, column, p.out_channels);
    int row = 0;
    for (; row + kRows <= p.rows; row += kRows) {
      Tile<kRows>(p, row, column, w, outs);
    }
    for (; row < p.rows; ++row) Tile<1>(p, row, column, w, outs);
    w += size_t{1} * p.words * kSignColumns;
  }
}

}  // namespace

extern const BinaryConv2DKernel binary_conv2d_avx2_4x8;

const BinaryConv2DKernel binary_conv2d_avx2_4x8 = {"binary_conv2d_avx2_4x8",
                                                   HasAvx2, Pack, Multiply};

}  // namespace tfc

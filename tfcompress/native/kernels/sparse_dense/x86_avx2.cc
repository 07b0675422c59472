// Products of int16 rows with blocks of 16 weights, by vpmaddwd, in s32.
#include <immintrin.h>

#include "kernels/quantize/quantize.h"
#include "kernels/sparse_dense/kernel.h"
#include "kernels/x86_outputs.h"

namespace tfc {
namespace {

constexpr int kRows = 4;
constexpr int kFour = 4;  // outs of a group of blocks of depths

inline __m256i Load(const int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// Outputs `out` to `out` + 7 of one row.
inline void Store(const BlockProduct& p, const Range& range, int row, int out,
                  __m256i sum) {
  const EightOuts outs(p.scales, p.bias, out, p.out_channels);
  const __m256 scale =
      _mm256_mul_ps(outs.scale, _mm256_set1_ps(p.row_scales[row]));
  const __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
  outs.Write(range.Clamp(_mm256_add_ps(v, outs.bias)),
             p.y + size_t{1} * row * p.out_channels + out);
}

// A group of 16 outs for kTile rows, from pairs of blocks.
template <int kTile>
inline void Outs(const BlockProduct& p, const Range& range, int row, int out,
                 uint32_t block, uint32_t end) {
  const int16_t* a = p.a + row * p.stride;
  const int16_t* w = p.weights + size_t{block} * kSparseBlock;
  __m256i low[kTile], high[kTile];
  for (__m256i& sum : low) sum = _mm256_setzero_si256();
  for (__m256i& sum : high) sum = _mm256_setzero_si256();
  for (; block != end; block += 2, w += 2 * kSparseBlock) {
    const uint16_t* place = p.places + block;
    const __m256i first = Load(w), second = Load(w + kSparseBlock);
#pragma GCC unroll 4
    for (int r = 0; r < kTile; ++r) {
      const int16_t* codes = a + r * p.stride;
      const uint32_t two = static_cast<uint16_t>(codes[place[0]]) |
                           static_cast<uint32_t>(codes[place[1]]) << 16;
      const __m256i x = _mm256_set1_epi32(static_cast<int>(two));
      low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(first, x));
      high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(second, x));
    }
  }
  for (int r = 0; r < kTile; ++r) {
    Store(p, range, row + r, out, low[r]);
    if (out + kEight < p.out_channels) {
      Store(p, range, row + r, out + kEight, high[r]);
    }
  }
}

void MultiplyOuts(const BlockProduct& p) {
  const Range range(p.activation);
  uint32_t block = 0;
  for (int out = 0; out < p.out_channels; out += kSparseBlock) {
    const uint32_t end = p.ends[out / kSparseBlock];
    int row = 0;
    for (; row + kRows <= p.rows; row += kRows) {
      Outs<kRows>(p, range, row, out, block, end);
    }
    for (; row < p.rows; ++row) Outs<1>(p, range, row, out, block, end);
    block = end;
  }
}

// The sums of 4 outs, from `out` on; 0 for those that do not exist.
inline __m128i FourSums(const BlockProduct& p, int row, int out) {
  if (out >= p.out_channels) return _mm_setzero_si128();
  const int group = out / kFour;
  const uint32_t end = p.ends[group];
  const int16_t* a = p.a + row * p.stride;
  __m256i parts[kFour];
#pragma GCC unroll 4
  for (int i = 0; i < kFour; ++i) parts[i] = _mm256_setzero_si256();
  for (uint32_t b = group == 0 ? 0 : p.ends[group - 1]; b != end; b += kFour) {
#pragma GCC unroll 4
    for (int i = 0; i < kFour; ++i) {
      const __m256i w = Load(p.weights + size_t{b + i} * kSparseBlock);
      const __m256i x = Load(a + size_t{p.places[b + i]} * kSparseBlock);
      parts[i] = _mm256_add_epi32(parts[i], _mm256_madd_epi16(w, x));
    }
  }
  const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(parts[0], parts[1]),
                                         _mm256_hadd_epi32(parts[2], parts[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(sums),
                       _mm256_extracti128_si256(sums, 1));
}

void MultiplyDepths(const BlockProduct& p) {
  const Range range(p.activation);
  for (int out = 0; out < p.out_channels; out += kEight) {
    for (int row = 0; row < p.rows; ++row) {
      Store(p, range, row, out,
            _mm256_setr_m128i(FourSums(p, row, out),
                              FourSums(p, row, out + kFour)));
    }
  }
}

}  // namespace

extern const SparseDenseKernel sparse_dense_outs_avx2;
extern const SparseDenseKernel sparse_dense_depths_avx2_4;

const SparseDenseKernel sparse_dense_outs_avx2 = {
    "sparse_dense_outs_avx2", BlockShape::kOuts, HasAvx2,
    &kQuantizeAvx2,           QuantizeWordsAvx2, MultiplyOuts};
const SparseDenseKernel sparse_dense_depths_avx2_4 = {
    "sparse_dense_depths_avx2_4",
    BlockShape::kDepthsInFours,
    HasAvx2,
    &kQuantizeAvx2,
    QuantizeWordsAvx2,
    MultiplyDepths};

}  // namespace tfc

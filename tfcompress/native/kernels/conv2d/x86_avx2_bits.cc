// Products of int8 rows with weights of 1 bit, by tables. 4 bits of weights
// choose one of the 16 sums of some of 4 activations; a table of these sums
// holds, for activations split into a = 16 * high + low, the sums of the low
// parts (0 ... 60) and of the high parts (-32 ... 28, plus 32) in a byte each,
// so that vpshufb looks up 32 outs at once and nothing is rounded.
#include "kernels/conv2d/x86_avx2.h"

namespace tfc {
namespace {

constexpr int kRows = 4;
constexpr int kVectors = 4;      // of 8 outs
constexpr int kStepBytes = 32;   // of weights, for 8 depths
constexpr int kTableBytes = 64;  // of one row, for 8 depths
constexpr int kHighBias = 32;    // of each high part
constexpr int kGroupDepths = 4;  // behind one lookup
constexpr int kSafeSteps = 16;   // 8 x (240 + 16 x 240) = 32640
constexpr int kScratchBytes = kTableBytes / kDepthStep;

// Bytes that are all ones where bit `j` of their index is set.
inline __m256i WhereBit(int j) {
  const __m256i index = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << j));
  return _mm256_cmpeq_epi8(_mm256_and_si256(index, bit), bit);
}

// Tables of 4 activations: low parts in the first 16 bytes, high ones behind.
void MakeTables(const int8_t* a, int depth, uint8_t* tables) {
  const __m256i eight = _mm256_set1_epi8(8);
  const __m256i bias =
      _mm256_setr_m128i(_mm_setzero_si128(), _mm_set1_epi8(kHighBias));
  for (int k = 0; k < depth; k += kGroupDepths, tables += kTableBytes / 2) {
    const __m256i four = Broadcast4(a + k);
    const __m256i low = LowNibbles(four);
    const __m256i high =
        _mm256_sub_epi8(_mm256_xor_si256(HighNibbles(four), eight), eight);
    const __m256i parts = _mm256_blend_epi32(low, high, 0xf0);
    __m256i sums = bias;
#pragma GCC unroll 4
    for (int j = 0; j < kGroupDepths; ++j) {
      const __m256i part =
          _mm256_shuffle_epi8(parts, _mm256_set1_epi8(static_cast<char>(j)));
      sums = _mm256_add_epi8(sums, _mm256_and_si256(part, WhereBit(j)));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(tables), sums);
  }
}

inline __m256i LookUp(const uint8_t* table, __m256i index) {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), index);
}

// Sums of 32 outs, of at most 16 depths.
template <int kTile>
struct Sums8 {
  __m256i low[kTile], high[kTile];

  template <bool kStart>
  inline void Add(const uint8_t* w, const uint8_t* tables, size_t stride) {
    const __m256i both = Load(w);
    const __m256i first = LowNibbles(both), second = HighNibbles(both);
#pragma GCC unroll 4
    for (int r = 0; r < kTile; ++r) {
      const uint8_t* t = tables + r * stride;
      const __m256i l =
          _mm256_add_epi8(LookUp(t, first), LookUp(t + 32, second));
      const __m256i h =
          _mm256_add_epi8(LookUp(t + 16, first), LookUp(t + 48, second));
      low[r] = kStart ? l : _mm256_add_epi8(low[r], l);
      high[r] = kStart ? h : _mm256_add_epi8(high[r], h);
    }
  }
};

// Sums of at most kSafeSteps steps: outs 0-7 and 16-23, outs 8-15 and 24-31.
template <int kTile>
struct Sums16 {
  __m256i even[kTile], odd[kTile];

  inline void Add(const Sums8<kTile>& sums) {
    const __m256i factors = _mm256_set1_epi16(1 | 16 << 8);
#pragma GCC unroll 4
    for (int r = 0; r < kTile; ++r) {
      const __m256i e = _mm256_unpacklo_epi8(sums.low[r], sums.high[r]);
      const __m256i o = _mm256_unpackhi_epi8(sums.low[r], sums.high[r]);
      even[r] = _mm256_add_epi16(even[r], _mm256_maddubs_epi16(e, factors));
      odd[r] = _mm256_add_epi16(odd[r], _mm256_maddubs_epi16(o, factors));
    }
  }

  inline void Sum(const uint8_t* w, const uint8_t* tables, size_t stride,
                  int steps) {
    for (int r = 0; r < kTile; ++r) even[r] = odd[r] = _mm256_setzero_si256();
    Prefetch(w, kSafeSteps * kStepBytes);
    Sums8<kTile> sums;
    for (; steps >= 2; steps -= 2) {
      sums.template Add<true>(w, tables, stride);
      sums.template Add<false>(w + kStepBytes, tables + kTableBytes, stride);
      Add(sums);
      w += 2 * kStepBytes;
      tables += 2 * kTableBytes;
    }
    if (steps == 0) return;
    sums.template Add<true>(w, tables, stride);
    Add(sums);
  }
};

inline void Widen(__m256i words, __m256i* first, __m256i* second) {
  const __m128i low = _mm256_castsi256_si128(words);
  const __m128i high = _mm256_extracti128_si256(words, 1);
  *first = _mm256_add_epi32(*first, _mm256_cvtepi16_epi32(low));
  *second = _mm256_add_epi32(*second, _mm256_cvtepi16_epi32(high));
}

template <int kTile>
void Tile(const Product& p, int row, const uint8_t* tables, const uint8_t* w,
          int column, const Range& range) {
  const size_t stride = size_t{1} * p.depth * kScratchBytes;
  const int steps = p.depth / kDepthStep;
  __m256i sums[kVectors][kTile];
  const __m256i start =
      _mm256_set1_epi32(-16 * kHighBias * (p.depth / kGroupDepths));
  for (auto& vector : sums) {
    for (__m256i& sum : vector) sum = start;
  }
  Sums16<kTile> words;
  for (int done = 0; done < steps; done += kSafeSteps) {
    words.Sum(w + done * kStepBytes, tables + done * kTableBytes, stride,
              steps - done < kSafeSteps ? steps - done : kSafeSteps);
    for (int r = 0; r < kTile; ++r) {
      Widen(words.even[r], &sums[0][r], &sums[2][r]);
      Widen(words.odd[r], &sums[1][r], &sums[3][r]);
    }
  }
  const __m256i step = _mm256_set1_epi32(p.bit_step);
  for (int v = 0; v < kVectors && column < p.out_channels; ++v, column += 8) {
    for (__m256i& sum : sums[v]) sum = _mm256_mullo_epi32(sum, step);
    Store(p, row, Columns(p, column), range,
          p.y + size_t{1} * row * p.out_channels + column, sums[v]);
  }
}

template <int kTile>
void Rows(const Product& p, int row, const Range& range) {
  auto* tables = static_cast<uint8_t*>(p.scratch);
  for (int r = 0; r < kTile; ++r) {
    MakeTables(p.a + (row + r) * p.a_stride, p.depth,
               tables + size_t{1} * r * p.depth * kScratchBytes);
  }
  const uint8_t* w = p.weights;
  for (int column = 0; column < p.out_channels; column += 8 * kVectors) {
    Tile<kTile>(p, row, tables, w, column, range);
    w += p.depth / kDepthStep * kStepBytes;
  }
}

void Multiply(const Product& p) {
  const Range range(p.activation);
  int row = 0;
  for (; row + kRows <= p.rows; row += kRows) Rows<kRows>(p, row, range);
  switch (p.rows - row) {
    case 3:
      return Rows<3>(p, row, range);
    case 2:
      return Rows<2>(p, row, range);
    case 1:
      return Rows<1>(p, row, range);
  }
}

}  // namespace

extern const Conv2DKernel conv2d_u1_avx2_4x32;

const Conv2DKernel conv2d_u1_avx2_4x32 = {"conv2d_u1_avx2_4x32",
                                          Packing::kBit,
                                          kRows,
                                          32,
                                          HasAvx2,
                                          Multiply,
                                          &kQuantizeAvx2,
                                          kScratchBytes * kRows,
                                          0,
                                          &kRequantizeAvx2};

}  // namespace tfc

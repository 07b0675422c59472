// Products of many int8 rows with weights of more than 4 bits, by vpmaddwd: the
// levels of some columns are expanded to int16 once, and pass over all rows.
// vpmaddubsw, which would need two products for a weight that wide, is as fast
// where there are few rows.
#include "kernels/conv2d/x86_avx2.h"

namespace tfc {
namespace {

constexpr int kRows = 6;
constexpr int kMaxVectors = 2;  // of 8 columns
constexpr int kGroup = 32;      // weights: 4 depths of 8 columns

inline __m256i LoadWords(const int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline void StoreWords(int16_t* p, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}

// Both take a group of bytes in the order [out][4] and give its first and last
// two depths in the order [out][2].
struct Words {
  __m256i first, last;
};

// A byte is the level.
struct ByteLevels {
  static constexpr int kGroups = 1;  // in 32 bytes

  explicit ByteLevels(const Product&) {}

  template <int kIndex>
  Words Get(const uint8_t* w) const {
    const __m256i first = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1));
    const __m256i last = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1));
    const __m256i v = Load(w);
    return {_mm256_shuffle_epi8(v, first), _mm256_shuffle_epi8(v, last)};
  }
};

// A nibble is the symbol; tables have the low and the high byte of its level.
struct PaletteLevels {
  static constexpr int kGroups = 2;
  __m256i low, high;

  explicit PaletteLevels(const Product& p) {
    uint8_t bytes[2][16];
    for (int s = 0; s < 16; ++s) {
      const int level = p.tables[s] | p.tables[16 + s] << kPaletteLowBits;
      bytes[0][s] = static_cast<uint8_t>(level & 255);
      bytes[1][s] = static_cast<uint8_t>(level >> 8);
    }
    low = Table(bytes[0]);
    high = Table(bytes[1]);
  }

  static __m256i Table(const uint8_t* bytes) {
    return _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }

  template <int kIndex>
  Words Get(const uint8_t* w) const {
    const __m256i by_depth = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    const __m256i v = kIndex == 0 ? LowNibbles(Load(w)) : HighNibbles(Load(w));
    const __m256i symbols = _mm256_shuffle_epi8(v, by_depth);
    const __m256i l = _mm256_shuffle_epi8(low, symbols);
    const __m256i h = _mm256_shuffle_epi8(high, symbols);
    return {_mm256_unpacklo_epi8(l, h), _mm256_unpackhi_epi8(l, h)};
  }
};

// Levels of `depth` x 8 columns, 16 for every two depths, which are `stride`
// apart.
template <class W>
void Expand(const W& weights, const uint8_t* w, int depth, int stride,
            int16_t* to) {
  for (int k = 0; k < depth; k += 4 * W::kGroups, w += kGroup) {
    const auto put = [&](const Words& words) {
      StoreWords(to, words.first);
      StoreWords(to + stride, words.last);
      to += 2 * stride;
    };
    put(weights.template Get<0>(w));
    if constexpr (W::kGroups == 2) put(weights.template Get<1>(w));
  }
}

// kTile rows times kVectors of 8 columns.
template <int kTile, int kVectors>
inline void Tile(const Product& p, int row, int column, const int16_t* rows,
                 const int16_t* w, const Range& range) {
  const size_t depth = p.depth;
  const int16_t* a = rows + row * depth;
  __m256i sums[kVectors][kTile];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 6
    for (int r = 0; r < kTile; ++r) sums[v][r] = _mm256_setzero_si256();
  }
  for (size_t k = 0; k < depth; k += 2, w += 16 * kVectors) {
    __m256i levels[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) levels[v] = LoadWords(w + 16 * v);
#pragma GCC unroll 6
    for (int r = 0; r < kTile; ++r) {
      const __m256i x =
          Broadcast4(reinterpret_cast<const int8_t*>(a + r * depth + k));
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        AddInts(&sums[v][r], _mm256_madd_epi16(levels[v], x));
      }
    }
  }
  float* y = p.y + size_t{1} * row * p.out_channels + column;
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    Store(p, row, Columns(p, column + 8 * v), range, y + 8 * v, sums[v]);
  }
}

template <int kVectors>
void AllRows(const Product& p, int column, const int16_t* rows,
             const int16_t* w, const Range& range) {
  int row = 0;
  for (; row + kRows <= p.rows; row += kRows) {
    Tile<kRows, kVectors>(p, row, column, rows, w, range);
  }
  for (; row + 2 <= p.rows; row += 2) {
    Tile<2, kVectors>(p, row, column, rows, w, range);
  }
  if (row < p.rows) Tile<1, kVectors>(p, row, column, rows, w, range);
}

template <class W>
void Multiply(const Product& p) {
  const W weights(p);
  const Range range(p.activation);
  auto* expanded = static_cast<int16_t*>(p.scratch);
  int16_t* rows = expanded + size_t{1} * p.depth * kMaxVectors * 8;
  for (int r = 0; r < p.rows; ++r) {
    for (int k = 0; k < p.depth; k += kDepthStep) {
      const __m128i codes = _mm_loadl_epi64(
          reinterpret_cast<const __m128i*>(p.a + r * p.a_stride + k));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(rows + r * p.depth + k),
                       _mm_cvtepi8_epi16(codes));
    }
  }
  const size_t block = size_t{1} * p.depth / 4 / W::kGroups * kGroup;
  const uint8_t* w = p.weights;
  for (int column = 0; column < p.out_channels; column += 16) {
    const bool both = column + 8 < p.out_channels;
    const int stride = both ? 32 : 16;
    Expand(weights, w, p.depth, stride, expanded);
    w += block;
    if (both) {
      Expand(weights, w, p.depth, stride, expanded + 16);
      w += block;
      AllRows<2>(p, column, rows, expanded, range);
    } else {
      AllRows<1>(p, column, rows, expanded, range);
    }
  }
}

}  // namespace

void MultiplyManyRows(const Product& p, Packing packing) {
  if (packing == Packing::kPalette) {
    Multiply<PaletteLevels>(p);
  } else {
    Multiply<ByteLevels>(p);
  }
}

}  // namespace tfc

// Products of int8 rows with low-bit weights, by vpmaddubsw: unsigned weights
// times signed activations, added up in s16 for as many steps as cannot
// overflow, then in s32. A weight of more than 4 bits is split into a low and a
// high part that go their own way in s16 and meet in s32.
#include "kernels/conv2d/x86_avx2.h"

namespace tfc {
namespace {

constexpr int kRows = 4;

// Each of the following gives, for 4 depths, the two vectors of unsigned
// weights that are multiplied with the same activations.
struct Operands {
  __m256i first, second;
};

// Weights of <= 2 bits: outs 0-7 and outs 8-15.
struct Crumbs {
  static constexpr int kVectors = 2;
  static constexpr int kStepBytes = 32;
  static constexpr int kSafeSteps = 21;  // 42 x 2 x 127 x 3 = 32004
  explicit Crumbs(const uint8_t*) {}

  template <int kHalf>
  Operands Get(const uint8_t* step) const {
    const __m256i v = _mm256_srli_epi16(Load(step), 4 * kHalf);
    const __m256i mask = _mm256_set1_epi8(3);
    return {_mm256_and_si256(v, mask),
            _mm256_and_si256(_mm256_srli_epi16(v, 2), mask)};
  }
};

// Weights of <= 4 bits: outs 0-7 and outs 8-15.
struct Nibbles {
  static constexpr int kVectors = 2;  // of 8 outs
  static constexpr int kStepBytes = 64;
  static constexpr int kSafeSteps = 4;  // 8 x 2 x 127 x 15 = 30480
  explicit Nibbles(const uint8_t*) {}

  template <int kHalf>
  Operands Get(const uint8_t* step) const {
    const __m256i v = Load(step + 32 * kHalf);
    return {LowNibbles(v), HighNibbles(v)};
  }
};

// Weights of <= 8 bits: low nibbles and high nibbles of outs 0-7.
struct Bytes : Nibbles {
  static constexpr int kVectors = 1;
  static constexpr int kHigh = 16;  // weight of the high part
  using Nibbles::Nibbles;
};

// Palette indices: low and high parts of the levels of outs 0-7.
struct Palette {
  static constexpr int kVectors = 1;
  static constexpr int kStepBytes = 32;
  static constexpr int kSafeSteps = 2;  // 4 x 2 x 127 x 31 = 31496
  static constexpr int kHigh = 1 << kPaletteLowBits;
  __m256i low, high;

  explicit Palette(const uint8_t* tables) {
    const auto* halves = reinterpret_cast<const __m128i*>(tables);
    low = _mm256_broadcastsi128_si256(_mm_loadu_si128(halves));
    high = _mm256_broadcastsi128_si256(_mm_loadu_si128(halves + 1));
  }

  template <int kHalf>
  Operands Get(const uint8_t* step) const {
    const __m256i v = Load(step);
    const __m256i index = kHalf == 0 ? LowNibbles(v) : HighNibbles(v);
    return {_mm256_shuffle_epi8(low, index), _mm256_shuffle_epi8(high, index)};
  }
};

// s16 sums of up to W::kSafeSteps steps of 8 depths.
template <class W, int kTile>
struct Words {
  __m256i first[kTile], second[kTile];

  template <int kHalf, bool kStart>
  inline void Add(const W& weights, const uint8_t* w, const int8_t* a,
                  size_t stride) {
    const Operands u = weights.template Get<kHalf>(w);
#pragma GCC unroll 4
    for (int r = 0; r < kTile; ++r) {
      const __m256i x = Broadcast4(a + r * stride + 4 * kHalf);
      const __m256i p = _mm256_maddubs_epi16(u.first, x);
      const __m256i q = _mm256_maddubs_epi16(u.second, x);
      if constexpr (kStart) {
        first[r] = p;
        second[r] = q;
      } else {
        AddWords(&first[r], p);
        AddWords(&second[r], q);
      }
    }
  }

  inline void Sum(const W& weights, const uint8_t* w, const int8_t* a,
                  size_t stride, int steps) {
    Add<0, true>(weights, w, a, stride);
    Add<1, false>(weights, w, a, stride);
    for (int s = 1; s < steps; ++s) {
      w += W::kStepBytes;
      a += 8;
      Add<0, false>(weights, w, a, stride);
      Add<1, false>(weights, w, a, stride);
    }
  }

  // Sum for as many steps as are safe.
  template <bool kStream>
  inline void SumAll(const W& weights, const uint8_t* w, const int8_t* a,
                     size_t stride) {
    if constexpr (kStream) Prefetch(w, W::kSafeSteps * W::kStepBytes);
    if constexpr (kTile > 1) {
      Sum(weights, w, a, stride, W::kSafeSteps);
    } else {
      Add<0, true>(weights, w, a, stride);
      Add<1, false>(weights, w, a, stride);
#pragma GCC unroll 32
      for (int s = 1; s < W::kSafeSteps; ++s) {
        Add<0, false>(weights, w + s * W::kStepBytes, a + s * 8, stride);
        Add<1, false>(weights, w + s * W::kStepBytes, a + s * 8, stride);
      }
    }
  }
};

// Adds the words to s32 sums of outs 0-7 (and 8-15), or starts these.
template <bool kStart, class W, int kTile>
inline void Widen(const Words<W, kTile>& words,
                  __m256i (&sums)[W::kVectors][kTile]) {
  const auto put = [](__m256i* sum, __m256i v) {
    *sum = kStart ? v : _mm256_add_epi32(*sum, v);
  };
  const __m256i one = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (int r = 0; r < kTile; ++r) {
    const __m256i p = _mm256_madd_epi16(words.first[r], one);
    if constexpr (W::kVectors == 2) {
      put(&sums[0][r], p);
      put(&sums[1][r], _mm256_madd_epi16(words.second[r], one));
    } else {
      const __m256i high = _mm256_set1_epi16(W::kHigh);
      const __m256i q = _mm256_madd_epi16(words.second[r], high);
      put(&sums[0][r], _mm256_add_epi32(p, q));
    }
  }
}

// A block of W::kVectors times 8 columns.
template <class W>
struct Block {
  const Product& p;
  const W weights;
  const Range range;
  const uint8_t* w;
  int column;
  Columns columns[W::kVectors];

  explicit Block(const Product& product)
      : p(product),
        weights(p.tables),
        range(p.activation),
        w(p.weights),
        column(0) {}

  // kStream: the weights pass by only once.
  template <int kTile, bool kStream>
  void Tile(int row) const {
    const int steps = p.depth / kDepthStep;
    const int8_t* a = p.a + row * p.a_stride;
    const uint8_t* next = w;
    __m256i sums[W::kVectors][kTile];
    Words<W, kTile> words;
    // What is over a multiple of kSafeSteps comes first.
    int done = (steps - 1) % W::kSafeSteps + 1;
    words.Sum(weights, next, a, p.a_stride, done);
    Widen<true>(words, sums);
    next += done * W::kStepBytes;
    a += done * kDepthStep;
    for (; done < steps; done += W::kSafeSteps) {
      words.template SumAll<kStream>(weights, next, a, p.a_stride);
      Widen<false>(words, sums);
      next += W::kSafeSteps * W::kStepBytes;
      a += W::kSafeSteps * kDepthStep;
    }
    float* y = p.y + size_t{1} * row * p.out_channels + column;
#pragma GCC unroll 2
    for (int v = 0; v < W::kVectors; ++v) {
      if (column + 8 * v < p.out_channels) {
        Store(p, row, columns[v], range, y + 8 * v, sums[v]);
      }
    }
  }
};

template <class W, bool kStream>
void Rows(const Block<W>& block) {
  const int rows = block.p.rows;
  int row = 0;
  for (; row + kRows <= rows; row += kRows) {
    block.template Tile<kRows, kStream>(row);
  }
  switch (rows - row) {
    case 3:
      return block.template Tile<3, kStream>(row);
    case 2:
      return block.template Tile<2, kStream>(row);
    case 1:
      return block.template Tile<1, kStream>(row);
  }
}

template <class W>
void Multiply(const Product& p) {
  Block<W> block(p);
  for (; block.column < p.out_channels; block.column += 8 * W::kVectors) {
    for (int v = 0; v < W::kVectors; ++v) {
      block.columns[v].Set(p, block.column + 8 * v);
    }
    if (p.rows <= kRows) {
      Rows<W, true>(block);
    } else {
      Rows<W, false>(block);
    }
    block.w += p.depth / kDepthStep * W::kStepBytes;
  }
}

// Rows from which on expanding the weights pays.
constexpr int kManyRows = 16;

template <Packing kPacking, class W>
void MultiplyWide(const Product& p) {
  if (p.rows >= kManyRows) {
    MultiplyManyRows(p, kPacking);
  } else {
    Multiply<W>(p);
  }
}

}  // namespace

extern const Conv2DKernel conv2d_u2_avx2_4x16;
extern const Conv2DKernel conv2d_u4_avx2_4x16;
extern const Conv2DKernel conv2d_palette_avx2_4x8;
extern const Conv2DKernel conv2d_u8_avx2_4x8;

const Conv2DKernel conv2d_u2_avx2_4x16 = {
    "conv2d_u2_avx2_4x16", Packing::kCrumb, kRows, 16, HasAvx2,
    Multiply<Crumbs>,      &kQuantizeAvx2,  0,     0,  &kRequantizeAvx2};
const Conv2DKernel conv2d_u4_avx2_4x16 = {
    "conv2d_u4_avx2_4x16", Packing::kNibble, kRows, 16, HasAvx2,
    Multiply<Nibbles>,     &kQuantizeAvx2,   0,     0,  &kRequantizeAvx2};
const Conv2DKernel conv2d_palette_avx2_4x8 = {
    "conv2d_palette_avx2_4x8",
    Packing::kPalette,
    kRows,
    8,
    HasAvx2,
    MultiplyWide<Packing::kPalette, Palette>,
    &kQuantizeAvx2,
    32,
    2,
    &kRequantizeAvx2};
const Conv2DKernel conv2d_u8_avx2_4x8 = {"conv2d_u8_avx2_4x8",
                                         Packing::kByte,
                                         kRows,
                                         8,
                                         HasAvx2,
                                         MultiplyWide<Packing::kByte, Bytes>,
                                         &kQuantizeAvx2,
                                         32,
                                         2};

}  // namespace tfc

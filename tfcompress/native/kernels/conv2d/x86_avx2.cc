// Products of int8 rows with low-bit weights, by vpmaddubsw: unsigned weights
// times signed activations, added up in s16 for as many steps as cannot
// overflow, then in s32. A weight of more than 4 bits is split into a low and a
// high part that go their own way in s16 and meet in s32.
#include "kernels/conv2d/x86_avx2_operands.h"

namespace tfc {
namespace {

constexpr int kRows = 4;

// Blocks of weights that one row passes at the same time. The caches deliver
// several streams faster than one: 4096 x 4096 of 4 bits takes 0.34 ms instead
// of 0.52 where other programs use them, too (Zen 3).
constexpr int kStreams = 4;

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
  EightOuts columns[W::kVectors];

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
    Finish(row, sums, columns, column);
  }

  // One row of kStreams blocks from this one on.
  void OneRow() const {
    const int steps = p.depth / kDepthStep;
    const size_t block = size_t{1} * steps * W::kStepBytes;
    const int8_t* a = p.a;
    const uint8_t* next = w;
    __m256i sums[kStreams][W::kVectors][1];
    Words<W, 1> words;
    int done = (steps - 1) % W::kSafeSteps + 1;
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) {
      words.Sum(weights, next + s * block, a, 0, done);
      Widen<true>(words, sums[s]);
    }
    next += done * W::kStepBytes;
    a += done * kDepthStep;
    for (; done < steps; done += W::kSafeSteps) {
#pragma GCC unroll 4
      for (int s = 0; s < kStreams; ++s) {
        words.template SumAll<true>(weights, next + s * block, a, 0);
        Widen<false>(words, sums[s]);
      }
      next += W::kSafeSteps * W::kStepBytes;
      a += W::kSafeSteps * kDepthStep;
    }
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) {
      const int first = column + s * 8 * W::kVectors;
      EightOuts all[W::kVectors];
      for (int v = 0; v < W::kVectors; ++v) all[v] = Columns(p, first + 8 * v);
      Finish(0, sums[s], all, first);
    }
  }

  template <int kTile>
  inline void Finish(int row, const __m256i (&sums)[W::kVectors][kTile],
                     const EightOuts (&all)[W::kVectors], int first) const {
    float* y = p.y + size_t{1} * row * p.out_channels + first;
#pragma GCC unroll 2
    for (int v = 0; v < W::kVectors; ++v) {
      if (first + 8 * v < p.out_channels) {
        Store(p, row, all[v], range, y + 8 * v, sums[v]);
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
  constexpr int kColumns = 8 * W::kVectors;
  if (p.rows == 1) {
    while (block.column + kStreams * kColumns <= p.out_channels) {
      block.OneRow();
      block.column += kStreams * kColumns;
      block.w += size_t{kStreams} * (p.depth / kDepthStep) * W::kStepBytes;
    }
  }
  for (; block.column < p.out_channels; block.column += kColumns) {
    for (int v = 0; v < W::kVectors; ++v) {
      block.columns[v] = Columns(p, block.column + 8 * v);
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

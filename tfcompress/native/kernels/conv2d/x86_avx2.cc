// Products of int8 rows with low-bit weights, by vpmaddubsw: unsigned weights
// times signed activations, added up in s16 for as many steps as cannot
// overflow, then in s32. A weight of more than 4 bits is split into a low and a
// high part that go their own way in s16 and meet in s32.
#include <immintrin.h>

#include <limits>

#include "kernels/conv2d/kernel.h"

namespace tfc {
namespace {

constexpr int kRows = 4;

inline __m256i Load(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline __m256i LowNibbles(__m256i v) {
  return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

inline __m256i HighNibbles(__m256i v) {
  return LowNibbles(_mm256_srli_epi16(v, 4));
}

// Each of the following gives, for 4 depths, the two vectors of unsigned
// weights that are multiplied with the same activations.
struct Operands {
  __m256i first, second;
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

inline __m256i Broadcast4(const int8_t* a) {
  int value;
  __builtin_memcpy(&value, a, sizeof(value));
  return _mm256_set1_epi32(value);
}

// Sums in place, now: GCC 12 otherwise keeps all products of an unrolled loop
// for one sum at its end, and spills every register (159 instead of 250 GOPS).
inline void AddWords(__m256i* sum, __m256i v) {
  *sum = _mm256_add_epi16(*sum, v);
  asm("" : "+x"(*sum));
}

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
#pragma GCC unroll 4
  for (int r = 0; r < kTile; ++r, y += p.out_channels) {
    const __m256i sum =
        _mm256_sub_epi32(sums[r], _mm256_set1_epi32(p.shifts[row + r]));
    const __m256 row_scale = _mm256_set1_ps(p.row_scales[row + r]);
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum),
                             _mm256_mul_ps(columns.scale, row_scale));
    v = _mm256_add_ps(v, columns.bias);
    // The second operand is the result where one of them is a NaN.
    v = _mm256_min_ps(range.high, _mm256_max_ps(range.low, v));
    if (columns.whole) {
      _mm256_storeu_ps(y, v);
    } else {
      _mm256_maskstore_ps(y, columns.mask, v);
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

  template <int kTile>
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
      words.Sum(weights, next, a, p.a_stride, W::kSafeSteps);
      Widen<false>(words, sums);
      next += W::kSafeSteps * W::kStepBytes;
      a += W::kSafeSteps * kDepthStep;
    }
    float* y = p.y + size_t{1} * row * p.out_channels + column;
    for (int v = 0; v < W::kVectors; ++v) {
      if (column + 8 * v < p.out_channels) {
        Store(p, row, columns[v], range, y + 8 * v, sums[v]);
      }
    }
  }
};

template <class W>
void Multiply(const Product& p) {
  Block<W> block(p);
  for (; block.column < p.out_channels; block.column += 8 * W::kVectors) {
    for (int v = 0; v < W::kVectors; ++v) {
      block.columns[v].Set(p, block.column + 8 * v);
    }
    int row = 0;
    for (; row + kRows <= p.rows; row += kRows) {
      block.template Tile<kRows>(row);
    }
    switch (p.rows - row) {
      case 3:
        block.template Tile<3>(row);
        break;
      case 2:
        block.template Tile<2>(row);
        break;
      case 1:
        block.template Tile<1>(row);
        break;
    }
    block.w += p.depth / kDepthStep * W::kStepBytes;
  }
}

bool HasAvx2() { return __builtin_cpu_supports("avx2"); }

}  // namespace

extern const Conv2DKernel conv2d_u4_avx2_4x16;
extern const Conv2DKernel conv2d_palette_avx2_4x8;
extern const Conv2DKernel conv2d_u8_avx2_4x8;

const Conv2DKernel conv2d_u4_avx2_4x16 = {
    "conv2d_u4_avx2_4x16", Packing::kNibble, kRows, 16, HasAvx2,
    Multiply<Nibbles>,     &kQuantizeAvx2};
const Conv2DKernel conv2d_palette_avx2_4x8 = {
    "conv2d_palette_avx2_4x8", Packing::kPalette, kRows, 8, HasAvx2,
    Multiply<Palette>,         &kQuantizeAvx2};
const Conv2DKernel conv2d_u8_avx2_4x8 = {
    "conv2d_u8_avx2_4x8", Packing::kByte, kRows, 8, HasAvx2,
    Multiply<Bytes>,      &kQuantizeAvx2};

}  // namespace tfc

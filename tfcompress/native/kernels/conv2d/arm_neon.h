// What the NEON kernels of conv2d share: decoding weights and writing outputs.
// A vector of weights is 4 consecutive depths of 4 consecutive outs, 16 bytes
// in the order [out][depth].
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_ARM_NEON_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_ARM_NEON_H_

#include <arm_neon.h>

#include "kernels/arm_outputs.h"
#include "kernels/conv2d/kernel.h"

namespace tfc {
namespace {

inline uint8x16_t LowNibbles(uint8x16_t v) {
  return vandq_u8(v, vdupq_n_u8(15));
}

inline int8x16_t Signed(uint8x16_t v) { return vreinterpretq_s8_u8(v); }

// Each of the following decodes steps of 8 depths: Get gives the vectors that
// are multiplied with the first (kHalf = 0) or the last 4 activations, and
// Join makes sums of kQuads times 4 outs from the sums of these products.

// Weights of <= 2 bits. Those of the first 8 outs lie below those of the last 8
// in a nibble: low + 4 * high is multiplied as it is, and 4 * high taken off
// its sum in the end.
struct Crumbs {
  static constexpr int kVectors = 4;
  static constexpr int kQuads = 4;
  static constexpr int kStepBytes = 32;
  static constexpr int kLargest = 15;  // operand
  static constexpr int kOffset = 0;    // of the operands, less the levels
  explicit Crumbs(const uint8_t*) {}

  template <int kHalf>
  void Get(const uint8_t* step, int8x16_t (&v)[kVectors]) const {
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t four = vld1q_u8(step + 16 * i);
      const uint8x16_t two =
          kHalf == 0 ? LowNibbles(four) : vshrq_n_u8(four, 4);
      v[i] = Signed(two);
      v[i + 2] = Signed(vshrq_n_u8(two, 2));
    }
  }
  static void Join(int32x4_t (&sums)[kVectors]) {
    for (int i = 0; i < 2; ++i) {
      sums[i] = vsubq_s32(sums[i], vshlq_n_s32(sums[i + 2], 2));
    }
  }
};

// Weights of <= 4 bits.
struct Nibbles {
  static constexpr int kVectors = 4;
  static constexpr int kQuads = 4;
  static constexpr int kStepBytes = 64;
  static constexpr int kLargest = 15;
  static constexpr int kOffset = 0;
  explicit Nibbles(const uint8_t*) {}

  template <int kHalf>
  void Get(const uint8_t* step, int8x16_t (&v)[kVectors]) const {
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t two = vld1q_u8(step + 32 * kHalf + 16 * i);
      v[i] = Signed(LowNibbles(two));
      v[i + 2] = Signed(vshrq_n_u8(two, 4));
    }
  }
  static void Join(int32x4_t (&)[kVectors]) {}
};

// Weights of <= 8 bits, as signed levels.
struct Bytes {
  static constexpr int kVectors = 2;
  static constexpr int kQuads = 2;
  static constexpr int kStepBytes = 64;
  static constexpr int kLargest = 128;
  static constexpr int kOffset = -128;
  explicit Bytes(const uint8_t*) {}

  template <int kHalf>
  void Get(const uint8_t* step, int8x16_t (&v)[kVectors]) const {
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t level = vld1q_u8(step + 32 * kHalf + 16 * i);
      v[i] = Signed(veorq_u8(level, vdupq_n_u8(128)));
    }
  }
  static void Join(int32x4_t (&)[kVectors]) {}
};

// Palette indices, looked up as low and high parts of the levels.
struct Palette {
  static constexpr int kVectors = 4;
  static constexpr int kQuads = 2;
  static constexpr int kStepBytes = 32;
  static constexpr int kLargest = (1 << kPaletteLowBits) - 1;
  static constexpr int kOffset = 0;
  uint8x16_t low, high;

  explicit Palette(const uint8_t* tables)
      : low(vld1q_u8(tables)), high(vld1q_u8(tables + 16)) {}

  template <int kHalf>
  void Get(const uint8_t* step, int8x16_t (&v)[kVectors]) const {
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t two = vld1q_u8(step + 16 * i);
      const uint8x16_t index =
          kHalf == 0 ? LowNibbles(two) : vshrq_n_u8(two, 4);
      v[i] = Signed(vqtbl1q_u8(low, index));
      v[i + 2] = Signed(vqtbl1q_u8(high, index));
    }
  }
  static void Join(int32x4_t (&sums)[kVectors]) {
    for (int i = 0; i < 2; ++i) {
      sums[i] = vaddq_s32(sums[i], vshlq_n_s32(sums[i + 2], kPaletteLowBits));
    }
  }
};

inline FourOutputs Outputs(const Product& p, int column) {
  return {p.scales, p.bias, p.activation, column, p.out_channels};
}

inline void Store(const Product& p, const FourOutputs& outputs, int row,
                  int32x4_t sum) {
  const int32x4_t exact = vsubq_s32(sum, vdupq_n_s32(p.shifts[row]));
  float* y = p.y + size_t{1} * row * p.out_channels;
  if (p.sums_only) return outputs.StoreSums(exact, y);
  outputs.Store(exact, p.row_scales[row], y);
}

// A block of columns of one product.
template <class W>
struct Block {
  const Product& p;
  const W weights;
  const uint8_t* w;
  int column;
};

template <class W, int kTile>
inline void Finish(const Block<W>& block, int row,
                   int32x4_t (&sums)[kTile][W::kVectors]) {
  for (auto& of_row : sums) W::Join(of_row);
  for (int q = 0; q < W::kQuads; ++q) {
    const int column = block.column + kQuad * q;
    if (column >= block.p.out_channels) return;
    const FourOutputs outputs = Outputs(block.p, column);
    for (int r = 0; r < kTile; ++r) {
      Store(block.p, outputs, row + r, sums[r][q]);
    }
  }
}

// Tiles of K::kRows rows, and one of what is left. kStream: the weights pass by
// only once.
template <class K, bool kStream>
void Rows(const Block<typename K::Weights>& block) {
  int row = 0;
  for (; row + K::kRows <= block.p.rows; row += K::kRows) {
    K::template Tile<K::kRows, kStream>(block, row);
  }
  for (; row + 4 <= block.p.rows; row += 4) {
    if constexpr (K::kRows > 4) K::template Tile<4, kStream>(block, row);
  }
  switch (block.p.rows - row) {
    case 3:
      if constexpr (K::kRows > 3) K::template Tile<3, kStream>(block, row);
      return;
    case 2:
      if constexpr (K::kRows > 2) K::template Tile<2, kStream>(block, row);
      return;
    case 1:
      return K::template Tile<1, kStream>(block, row);
  }
}

template <class K>
void Columns(const Product& p) {
  using W = typename K::Weights;
  Block<W> block{p, W(p.tables), p.weights, 0};
  for (; block.column < p.out_channels; block.column += kQuad * W::kQuads) {
    if (p.rows <= K::kRows) {
      Rows<K, true>(block);
    } else {
      Rows<K, false>(block);
    }
    block.w += p.depth / kDepthStep * W::kStepBytes;
  }
}

template <class K>
void Multiply(const Product& p) {
  constexpr int kOffset = K::Weights::kOffset;
  if constexpr (kOffset == 0) return Columns<K>(p);
  // sum_k (level + offset) * a is sum_k level * a + offset * sum_k a.
  constexpr int kPart = 192;
  int32_t shifts[kPart];
  Product part = p;
  part.shifts = shifts;
  for (int row = 0; row < p.rows; row += part.rows) {
    part.rows = p.rows - row < kPart ? p.rows - row : kPart;
    part.a = p.a + row * p.a_stride;
    part.row_scales = p.row_scales + row;
    part.y = p.y + size_t{1} * row * p.out_channels;
    kQuantizeNeon.row_sums(part.a, p.a_stride, part.rows, p.depth, kOffset,
                           shifts);
    for (int r = 0; r < part.rows; ++r) {
      shifts[r] =
          static_cast<int32_t>(static_cast<uint32_t>(shifts[r]) +
                               static_cast<uint32_t>(p.shifts[row + r]));
    }
    Columns<K>(part);
  }
}

// Asks for weights that are needed soon, where they pass by only once: cores
// that run in order wait for each line otherwise.
inline void Prefetch(const uint8_t* w, int bytes) {
  constexpr int kAhead = 512;
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(w + kAhead + i);
}

}  // namespace
}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_ARM_NEON_H_

// Popcounts by cnt: a word of some rows against that word of 8 outs.
#include <arm_neon.h>

#include "kernels/arm_outputs.h"
#include "kernels/binary_conv2d/kernel.h"

namespace tfc {
namespace {

constexpr int kRows = 4;
constexpr int kQuads = kSignColumns / kQuad;
constexpr int kSafeWords = 31;  // 31 x 8 ones fit a byte

// Ones where a lane is at least 0; clears lanes of `ordered` that are NaNs.
inline uint16x4_t Positive(const float* x, uint32x4_t* ordered) {
  const float32x4_t v = vld1q_f32(x);
  *ordered = vandq_u32(*ordered, vceqq_f32(v, v));
  return vmovn_u32(vcgezq_f32(v));
}

bool Pack(const float* x, int n, uint32_t* words) {
  constexpr uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t bits = vld1q_u8(kBits);
  uint32x4_t ordered = vdupq_n_u32(~0u);
  int i = 0;
  for (; i + kSignBits <= n; i += kSignBits) {
    uint8x16_t signs[2];
    for (int h = 0; h < 2; ++h) {
      const float* from = x + i + 16 * h;
      const uint16x8_t low =
          vcombine_u16(Positive(from, &ordered), Positive(from + 4, &ordered));
      const uint16x8_t high = vcombine_u16(Positive(from + 8, &ordered),
                                           Positive(from + 12, &ordered));
      const uint8x16_t all = vcombine_u8(vmovn_u16(low), vmovn_u16(high));
      signs[h] = vandq_u8(all, bits);
    }
    uint8x16_t sums = vpaddq_u8(signs[0], signs[1]);
    sums = vpaddq_u8(sums, sums);
    sums = vpaddq_u8(sums, sums);
    *words++ = vgetq_lane_u32(vreinterpretq_u32_u8(sums), 0);
  }
  bool good = vminvq_u32(ordered) != 0;
  if (i == n) return good;
  uint32_t word = 0;
  for (int bit = 0; i < n; ++i, ++bit) {
    good = good && x[i] == x[i];
    word |= static_cast<uint32_t>(x[i] >= 0.0f) << bit;
  }
  *words = word;
  return good;
}

// Bits in which `kTile` rows differ from 8 outs.
template <int kTile>
inline void Count(const SignProduct& p, int row, const uint32_t* w,
                  uint32x4_t (&different)[kTile][kQuads]) {
  const uint32_t* a = p.a + size_t{1} * row * p.words;
  for (auto& of_row : different) {
    for (uint32x4_t& sum : of_row) sum = vdupq_n_u32(0);
  }
  for (int first = 0; first < p.words; first += kSafeWords) {
    const int end = first + kSafeWords < p.words ? first + kSafeWords : p.words;
    uint8x16_t bytes[kTile][kQuads];
    for (auto& of_row : bytes) {
      for (uint8x16_t& sum : of_row) sum = vdupq_n_u8(0);
    }
    for (int k = first; k < end; ++k) {
      const uint32x4_t v[kQuads] = {vld1q_u32(w + k * kSignColumns),
                                    vld1q_u32(w + k * kSignColumns + kQuad)};
#pragma GCC unroll 4
      for (int r = 0; r < kTile; ++r) {
        const uint32x4_t x = vld1q_dup_u32(a + size_t{1} * r * p.words + k);
#pragma GCC unroll 2
        for (int q = 0; q < kQuads; ++q) {
          const uint8x16_t ones =
              vcntq_u8(vreinterpretq_u8_u32(veorq_u32(x, v[q])));
          bytes[r][q] = vaddq_u8(bytes[r][q], ones);
        }
      }
    }
    for (int r = 0; r < kTile; ++r) {
      for (int q = 0; q < kQuads; ++q) {
        different[r][q] = vpadalq_u16(different[r][q], vpaddlq_u8(bytes[r][q]));
      }
    }
  }
}

template <int kTile>
void Tile(const SignProduct& p, int row, int column, const uint32_t* w) {
  uint32x4_t different[kTile][kQuads];
  Count(p, row, w, different);
  for (int q = 0; q < kQuads && column < p.out_channels; ++q) {
    const FourOutputs outputs(p.scales, p.bias, p.activation, column,
                              p.out_channels);
    for (int r = 0; r < kTile; ++r) {
      const int32x4_t offset =
          vld1q_s32(p.offsets + (row + r) * p.offset_stride + column);
      const int32x4_t sum =
          vmlsq_n_s32(offset, vreinterpretq_s32_u32(different[r][q]), 2);
      outputs.Store(sum, p.factors[row + r],
                    p.y + size_t{1} * (row + r) * p.out_channels);
    }
    column += kQuad;
  }
}

void Multiply(const SignProduct& p) {
  const uint32_t* w = p.weights;
  for (int column = 0; column < p.out_channels; column += kSignColumns) {
    int row = 0;
    for (; row + kRows <= p.rows; row += kRows) {
      Tile<kRows>(p, row, column, w);
    }
    for (; row < p.rows; ++row) Tile<1>(p, row, column, w);
    w += size_t{1} * p.words * kSignColumns;
  }
}

}  // namespace

extern const BinaryConv2DKernel binary_conv2d_neon_4x8;

const BinaryConv2DKernel binary_conv2d_neon_4x8 = {
    "binary_conv2d_neon_4x8", [] { return true; }, Pack, Multiply};

}  // namespace tfc

// Products of int16 rows with blocks of 16 weights, by smlal, in s32.
#include <arm_neon.h>

#include "kernels/arm_outputs.h"
#include "kernels/sparse_dense/kernel.h"

namespace tfc {
namespace {

constexpr int kRows = 4;
constexpr int kQuads = kSparseBlock / kQuad;

// A group of 16 outs for kTile rows, from pairs of blocks.
template <int kTile>
inline void Outs(const BlockProduct& p, int row, int out, uint32_t block,
                 uint32_t end) {
  const int16_t* a = p.a + row * p.stride;
  const int16_t* w = p.weights + size_t{block} * kSparseBlock;
  int32x4_t sums[kTile][kQuads];
  for (auto& of_row : sums) {
    for (int32x4_t& sum : of_row) sum = vdupq_n_s32(0);
  }
  for (; block != end; block += 2, w += 2 * kSparseBlock) {
    const uint16_t* place = p.places + block;
    const int16x8x2_t low = vld2q_s16(w), high = vld2q_s16(w + kSparseBlock);
#pragma GCC unroll 4
    for (int r = 0; r < kTile; ++r) {
      const int16_t* codes = a + r * p.stride;
      int32x4_t* sum = sums[r];
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        const int16x8_t x = vld1q_dup_s16(codes + place[i]);
        const int16x4_t x4 = vget_low_s16(x);
        sum[0] = vmlal_s16(sum[0], vget_low_s16(low.val[i]), x4);
        sum[1] = vmlal_high_s16(sum[1], low.val[i], x);
        sum[2] = vmlal_s16(sum[2], vget_low_s16(high.val[i]), x4);
        sum[3] = vmlal_high_s16(sum[3], high.val[i], x);
      }
    }
  }
  for (int q = 0; q < kQuads && out < p.out_channels; ++q, out += kQuad) {
    const FourOutputs outputs(p.scales, p.bias, p.activation, out,
                              p.out_channels);
    for (int r = row; r < row + kTile; ++r) {
      outputs.Store(sums[r - row][q], p.row_scales[r],
                    p.y + size_t{1} * r * p.out_channels);
    }
  }
}

void MultiplyOuts(const BlockProduct& p) {
  uint32_t block = 0;
  for (int out = 0; out < p.out_channels; out += kSparseBlock) {
    const uint32_t end = p.ends[out / kSparseBlock];
    int row = 0;
    for (; row + kRows <= p.rows; row += kRows) {
      Outs<kRows>(p, row, out, block, end);
    }
    for (; row < p.rows; ++row) Outs<1>(p, row, out, block, end);
    block = end;
  }
}

// The sum over one out's blocks, in 4 parts.
inline int32x4_t Parts(const BlockProduct& p, const int16_t* a, uint32_t block,
                       uint32_t end) {
  // Four sums, so that one addition need not wait for the other.
  int32x4_t sums[kQuads];
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  for (; block != end; ++block) {
    const int16_t* w = p.weights + size_t{block} * kSparseBlock;
    const int16_t* x = a + size_t{p.places[block]} * kSparseBlock;
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const int16x8_t v = vld1q_s16(w + 8 * h), u = vld1q_s16(x + 8 * h);
      sums[2 * h] = vmlal_s16(sums[2 * h], vget_low_s16(v), vget_low_s16(u));
      sums[2 * h + 1] = vmlal_high_s16(sums[2 * h + 1], v, u);
    }
  }
  return vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3]));
}

void MultiplyDepths(const BlockProduct& p) {
  for (int out = 0; out < p.out_channels; out += kQuad) {
    const FourOutputs outputs(p.scales, p.bias, p.activation, out,
                              p.out_channels);
    for (int row = 0; row < p.rows; ++row) {
      int32x4_t parts[kQuad];
      for (int i = 0; i < kQuad; ++i) {
        const int o = out + i;
        parts[i] = o >= p.out_channels
                       ? vdupq_n_s32(0)
                       : Parts(p, p.a + row * p.stride,
                               o == 0 ? 0 : p.ends[o - 1], p.ends[o]);
      }
      const int32x4_t sums = vpaddq_s32(vpaddq_s32(parts[0], parts[1]),
                                        vpaddq_s32(parts[2], parts[3]));
      outputs.Store(sums, p.row_scales[row],
                    p.y + size_t{1} * row * p.out_channels);
    }
  }
}

bool Always() { return true; }

}  // namespace

extern const SparseDenseKernel sparse_dense_outs_neon;
extern const SparseDenseKernel sparse_dense_depths_neon;

const SparseDenseKernel sparse_dense_outs_neon = {
    "sparse_dense_outs_neon", BlockShape::kOuts, Always,
    &kQuantizeNeon,           QuantizeWordsNeon, MultiplyOuts};
const SparseDenseKernel sparse_dense_depths_neon = {
    "sparse_dense_depths_neon", BlockShape::kDepths, Always, &kQuantizeNeon,
    QuantizeWordsNeon,          MultiplyDepths};

}  // namespace tfc

// Rows of depthwise outputs with NEON: mla, in s16, or smlal, in s32,
// multiplies the codes of a tap with its weights and adds them up.
#include <arm_neon.h>

#include "kernels/arm_outputs.h"
#include "kernels/depthwise_conv2d/kernel.h"

namespace tfc {
namespace {

constexpr int kLanes = kDepthwiseLanes;
constexpr int kQuads = kLanes / kQuad;

// Adds the products of one tap of all lanes.
inline void Add(const int16_t* x, const int16x8_t (&w)[2],
                int32x4_t (&sums)[kQuads]) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const int16x8_t v = vld1q_s16(x + 8 * h);
    sums[2 * h] = vmlal_s16(sums[2 * h], vget_low_s16(v), vget_low_s16(w[h]));
    sums[2 * h + 1] = vmlal_high_s16(sums[2 * h + 1], v, w[h]);
  }
}

// kCount outputs of one block of lanes from their sums.
template <int kCount>
inline void Store(const DepthwiseRow& row, int first, int channel,
                  const int32x4_t (&sums)[kCount][kQuads]) {
  for (int q = 0; q < kQuads && channel < row.channels; ++q) {
    const FourOutputs four(row.scales, row.bias, row.activation, channel,
                           row.channels);
    for (int p = 0; p < kCount; ++p) {
      float* y = row.y + size_t{1} * (first + p) * row.channels;
      if (row.sums_only) {
        four.StoreSums(sums[p][q], y);
      } else {
        four.Store(sums[p][q], row.image_scale, y);
      }
    }
    channel += kQuad;
  }
}

// kCount outputs of one block of lanes.
template <int kCount>
inline void Outputs(const DepthwiseRow& row, int first, int channel,
                    const int16_t* w) {
  const size_t at = first * row.step + channel;
  int32x4_t sums[kCount][kQuads];
  for (auto& output : sums) {
    for (int32x4_t& sum : output) sum = vdupq_n_s32(0);
  }
  for (int pair = 0; pair < row.pairs; ++pair, w += 2 * kLanes) {
    const int16_t* a = row.taps[2 * pair] + at;
    const int16_t* b = row.taps[2 * pair + 1] + at;
    const int16x8x2_t low = vld2q_s16(w), high = vld2q_s16(w + kLanes);
    const int16x8_t of_a[2] = {low.val[0], high.val[0]};
    const int16x8_t of_b[2] = {low.val[1], high.val[1]};
#pragma GCC unroll 4
    for (int p = 0; p < kCount; ++p) Add(a + p * row.step, of_a, sums[p]);
#pragma GCC unroll 4
    for (int p = 0; p < kCount; ++p) Add(b + p * row.step, of_b, sums[p]);
  }
  Store<kCount>(row, first, channel, sums);
}

// The same with sums in s16.
template <int kCount>
inline void NarrowOutputs(const DepthwiseRow& row, int first, int channel,
                          const int16_t* w) {
  const size_t at = first * row.step + channel;
  int16x8_t words[kCount][2];
  for (auto& output : words) {
    for (int16x8_t& sum : output) sum = vdupq_n_s16(0);
  }
  for (int tap = 0; tap < 2 * row.pairs; ++tap, w += kLanes) {
    const int16_t* a = row.taps[tap] + at;
    const int16x8_t low = vld1q_s16(w), high = vld1q_s16(w + 8);
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) {
      const int16_t* x = a + p * row.step;
      words[p][0] = vmlaq_s16(words[p][0], vld1q_s16(x), low);
      words[p][1] = vmlaq_s16(words[p][1], vld1q_s16(x + 8), high);
    }
  }
  int32x4_t sums[kCount][kQuads];
  for (int p = 0; p < kCount; ++p) {
    for (int h = 0; h < 2; ++h) {
      sums[p][2 * h] = vmovl_s16(vget_low_s16(words[p][h]));
      sums[p][2 * h + 1] = vmovl_high_s16(words[p][h]);
    }
  }
  Store<kCount>(row, first, channel, sums);
}

template <bool kNarrow, int kCount>
void Blocks(const DepthwiseRow& row, int first) {
  const int16_t* w = row.weights;
  for (int channel = 0; channel < row.channels; channel += kLanes) {
    if constexpr (kNarrow) {
      NarrowOutputs<kCount>(row, first, channel, w);
    } else {
      Outputs<kCount>(row, first, channel, w);
    }
    w += size_t{2} * kLanes * row.pairs;
  }
}

template <bool kNarrow, int kTile>
void Tiles(const DepthwiseRow& row) {
  int first = 0;
  for (; first + kTile <= row.outputs; first += kTile) {
    Blocks<kNarrow, kTile>(row, first);
  }
  // Some outputs once more: it costs less than each of the rest alone.
  if (first < row.outputs) Blocks<kNarrow, kTile>(row, row.outputs - kTile);
}

template <bool kNarrow>
void Row(const DepthwiseRow& row) {
  // 7 divides the widths of most networks: 112, 56, 28, 14, 7.
  if (kNarrow && row.outputs >= 7) return Tiles<kNarrow, 7>(row);
  if (row.outputs >= 4) return Tiles<kNarrow, 4>(row);
  Tiles<kNarrow, 1>(row);
}

bool Always() { return true; }

}  // namespace

extern const DepthwiseKernel depthwise_conv2d_s16_neon_7x16;
extern const DepthwiseKernel depthwise_conv2d_neon_4x16;

const DepthwiseKernel depthwise_conv2d_s16_neon_7x16 = {
    "depthwise_conv2d_s16_neon_7x16",
    Always,
    &kQuantizeNeon,
    QuantizeWordsNeon,
    Row<true>,
    &kRequantizeNeon,
    DepthwisePacking::kTaps};
const DepthwiseKernel depthwise_conv2d_neon_4x16 = {
    "depthwise_conv2d_neon_4x16",
    Always,
    &kQuantizeNeon,
    QuantizeWordsNeon,
    Row<false>,
    &kRequantizeNeon,
    DepthwisePacking::kPairs};

}  // namespace tfc

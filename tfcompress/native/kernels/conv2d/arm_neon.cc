// Products of int8 rows with low-bit weights on any 64-bit Arm: smlal adds 8
// products to sums of 16 bits for as many steps as cannot overflow, sadalp then
// adds these in pairs to sums of 32 bits.
#include "kernels/conv2d/arm_neon.h"

namespace tfc {
namespace {

// kActivation: the largest |a|, 127 or, of activations that are int8 already,
// 128.
template <class W, int kTileRows, int kActivation = 128>
struct Long {
  using Weights = W;
  static constexpr int kRows = kTileRows;
  // A step adds 2 products to each sum, in halves.
  static constexpr int kSafeHalves = 32767 / (kActivation * W::kLargest);
  static constexpr int kSafeSteps = kSafeHalves / 2 > 0 ? kSafeHalves / 2 : 1;
  static constexpr int kSums = 2 * W::kVectors;  // each of 2 outs

  template <int kTile>
  using Words = int16x8_t[kTile][kSums];
  template <int kTile>
  using Pairs = int32x4_t[kTile][kSums];

  template <int kTile, bool kStream>
  static void Tile(const Block<W>& block, int row) {
    const size_t stride = block.p.a_stride;
    const int steps = block.p.depth / kDepthStep;
    const int8_t* a = block.p.a + row * stride;
    const uint8_t* w = block.w;
    Pairs<kTile> pairs;
    for (auto& of_row : pairs) {
      for (int32x4_t& sum : of_row) sum = vdupq_n_s32(0);
    }
    for (int done = 0; done < steps; done += kSafeSteps) {
      const int safe = steps - done < kSafeSteps ? steps - done : kSafeSteps;
      Words<kTile> words;
      Step<true, kStream>(block.weights, w, a, stride, words, pairs);
      for (int s = 1; s < safe; ++s) {
        Step<false, kStream>(block.weights, w + s * W::kStepBytes,
                             a + s * kDepthStep, stride, words, pairs);
      }
      a += safe * kDepthStep;
      w += safe * W::kStepBytes;
      Widen(words, pairs);
    }
    int32x4_t sums[kTile][W::kVectors];
    for (int r = 0; r < kTile; ++r) {
      for (int i = 0; i < W::kVectors; ++i) {
        sums[r][i] = vpaddq_s32(pairs[r][2 * i], pairs[r][2 * i + 1]);
      }
    }
    Finish<W, kTile>(block, row, sums);
  }

 private:
  template <bool kStart, bool kStream, int kTile>
  static inline void Step(const W& weights, const uint8_t* w, const int8_t* a,
                          size_t stride, Words<kTile>& words,
                          Pairs<kTile>& pairs) {
    if constexpr (kStream) Prefetch(w, W::kStepBytes);
    int32x2_t x[kTile];
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
      x[r] = vreinterpret_s32_s8(vld1_s8(a + r * stride));
    }
    Add<0, kStart>(weights, w, x, words);
    if constexpr (kSafeHalves < 2) Widen(words, pairs);
    Add<1, (kSafeHalves < 2)>(weights, w, x, words);
  }

  template <int kTile>
  static inline void Widen(const Words<kTile>& words, Pairs<kTile>& pairs) {
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < kSums; ++i) {
        pairs[r][i] = vpadalq_s16(pairs[r][i], words[r][i]);
      }
    }
  }

  template <int kHalf, bool kStart, int kTile>
  static inline void Add(const W& weights, const uint8_t* w,
                         const int32x2_t (&x)[kTile], Words<kTile>& words) {
    int8x16_t v[W::kVectors];
    weights.template Get<kHalf>(w, v);
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
      const int8x16_t same = vreinterpretq_s8_s32(vdupq_lane_s32(x[r], kHalf));
#pragma GCC unroll 4
      for (int i = 0; i < W::kVectors; ++i) {
        int16x8_t* sum = &words[r][2 * i];
        if constexpr (kStart) {
          sum[0] = vmull_s8(vget_low_s8(v[i]), vget_low_s8(same));
          sum[1] = vmull_high_s8(v[i], same);
        } else {
          sum[0] = vmlal_s8(sum[0], vget_low_s8(v[i]), vget_low_s8(same));
          sum[1] = vmlal_high_s8(sum[1], v[i], same);
        }
      }
    }
  }
};

void MultiplyBytes(const Product& p) {
  if (p.sums_only) return Multiply<Long<Bytes, 3, 128>>(p);
  Multiply<Long<Bytes, 3, 127>>(p);
}

bool Always() { return true; }

}  // namespace

extern const Conv2DKernel conv2d_u2_neon_2x16;
extern const Conv2DKernel conv2d_u4_neon_2x16;
extern const Conv2DKernel conv2d_palette_neon_2x8;
extern const Conv2DKernel conv2d_u8_neon_3x8;

const Conv2DKernel conv2d_u2_neon_2x16 = {
    "conv2d_u2_neon_2x16",     Packing::kCrumb, 2, 16, Always,
    Multiply<Long<Crumbs, 2>>, &kQuantizeNeon,  0, 0,  &kRequantizeNeon};
const Conv2DKernel conv2d_u4_neon_2x16 = {
    "conv2d_u4_neon_2x16",      Packing::kNibble, 2, 16, Always,
    Multiply<Long<Nibbles, 2>>, &kQuantizeNeon,   0, 0,  &kRequantizeNeon};
const Conv2DKernel conv2d_palette_neon_2x8 = {
    "conv2d_palette_neon_2x8",  Packing::kPalette, 2, 8, Always,
    Multiply<Long<Palette, 2>>, &kQuantizeNeon,    0, 0, &kRequantizeNeon};
const Conv2DKernel conv2d_u8_neon_3x8 = {
    "conv2d_u8_neon_3x8", Packing::kByte, 3, 8, Always,
    MultiplyBytes,        &kQuantizeNeon, 0, 0, &kRequantizeNeon};

}  // namespace tfc

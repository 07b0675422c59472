// Products of int8 rows with low-bit weights by sdot, which adds 4 products to
// each of 4 sums of 32 bits, so that nothing can overflow on the way.
#include "kernels/arm_features.h"
#include "kernels/conv2d/arm_neon.h"

namespace tfc {
namespace {

template <class W, int kTileRows>
struct Dot {
  using Weights = W;
  static constexpr int kRows = kTileRows;

  template <int kTile, bool kStream>
  static void Tile(const Block<W>& block, int row) {
    const size_t stride = block.p.a_stride;
    const int8_t* a = block.p.a + row * stride;
    const uint8_t* w = block.w;
    int32x4_t sums[kTile][W::kVectors];
    for (auto& of_row : sums) {
      for (int32x4_t& sum : of_row) sum = vdupq_n_s32(0);
    }
    for (int k = 0; k < block.p.depth; k += kDepthStep) {
      if constexpr (kStream) Prefetch(w, W::kStepBytes);
      int8x8_t x[kTile];
#pragma GCC unroll 8
      for (int r = 0; r < kTile; ++r) x[r] = vld1_s8(a + r * stride);
      Add<0>(block.weights, w, x, sums);
      Add<1>(block.weights, w, x, sums);
      a += kDepthStep;
      w += W::kStepBytes;
    }
    Finish<W, kTile>(block, row, sums);
  }

 private:
  template <int kHalf, int kTile>
  static inline void Add(const W& weights, const uint8_t* w,
                         const int8x8_t (&x)[kTile],
                         int32x4_t (&sums)[kTile][W::kVectors]) {
    int8x16_t v[W::kVectors];
    weights.template Get<kHalf>(w, v);
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < W::kVectors; ++i) {
        sums[r][i] = vdotq_lane_s32(sums[r][i], v[i], x[r], kHalf);
      }
    }
  }
};

}  // namespace

extern const Conv2DKernel conv2d_u2_dotprod_4x16;
extern const Conv2DKernel conv2d_u4_dotprod_4x16;
extern const Conv2DKernel conv2d_palette_dotprod_4x8;
extern const Conv2DKernel conv2d_u8_dotprod_8x8;

const Conv2DKernel conv2d_u2_dotprod_4x16 = {
    "conv2d_u2_dotprod_4x16", Packing::kCrumb, 4, 16, HasDotprod,
    Multiply<Dot<Crumbs, 4>>, &kQuantizeNeon,  0, 0,  &kRequantizeNeon};
const Conv2DKernel conv2d_u4_dotprod_4x16 = {
    "conv2d_u4_dotprod_4x16",  Packing::kNibble, 4, 16, HasDotprod,
    Multiply<Dot<Nibbles, 4>>, &kQuantizeNeon,   0, 0,  &kRequantizeNeon};
const Conv2DKernel conv2d_palette_dotprod_4x8 = {
    "conv2d_palette_dotprod_4x8", Packing::kPalette, 4, 8, HasDotprod,
    Multiply<Dot<Palette, 4>>,    &kQuantizeNeon,    0, 0, &kRequantizeNeon};
const Conv2DKernel conv2d_u8_dotprod_8x8 = {
    "conv2d_u8_dotprod_8x8", Packing::kByte, 8, 8, HasDotprod,
    Multiply<Dot<Bytes, 8>>, &kQuantizeNeon, 0, 0, &kRequantizeNeon};

}  // namespace tfc

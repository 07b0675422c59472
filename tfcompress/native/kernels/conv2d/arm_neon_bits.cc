// Products of int8 rows with weights of 1 bit, by tables. 4 bits of weights
// choose one of the 16 sums of some of 4 activations; a table of these sums
// holds, for activations split into a = 16 * high + low, the sums of the low
// parts (0 ... 60) and of the high parts (-32 ... 28, plus 32) in a byte each,
// so that tbl looks up 16 outs at once and nothing is rounded.
#include "kernels/conv2d/arm_neon.h"

namespace tfc {
namespace {

constexpr int kRows = 2;
constexpr int kHalves = 2;       // of 16 outs
constexpr int kOuts = 32;        // of a block
constexpr int kStepBytes = 32;   // of weights, for 8 depths
constexpr int kTableBytes = 64;  // of one row, for 8 depths
constexpr int kHighBias = 32;    // of each high part
constexpr int kGroupDepths = 4;  // behind one lookup
constexpr int kSafeSteps = 32;   // 16 x (240 + 16 x 240) = 65280
constexpr int kScratchBytes = kTableBytes / kDepthStep;

// Ones where bit `j` of the index is set.
constexpr uint8_t kBits[kGroupDepths][16] = {
    {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1},
    {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1},
    {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1},
    {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
};

// Sums of some of the 4 parts that start at lane `kLane`.
template <int kLane>
inline uint8x16_t SubsetSums(uint8x16_t start, uint8x8_t parts) {
  start = vmlaq_u8(start, vld1q_u8(kBits[0]), vdupq_lane_u8(parts, kLane));
  start = vmlaq_u8(start, vld1q_u8(kBits[1]), vdupq_lane_u8(parts, kLane + 1));
  start = vmlaq_u8(start, vld1q_u8(kBits[2]), vdupq_lane_u8(parts, kLane + 2));
  return vmlaq_u8(start, vld1q_u8(kBits[3]), vdupq_lane_u8(parts, kLane + 3));
}

// For every 4 activations the low parts in 16 bytes, and the high ones behind.
void MakeTables(const int8_t* a, int depth, uint8_t* tables) {
  const uint8x16_t zero = vdupq_n_u8(0), bias = vdupq_n_u8(kHighBias);
  for (int k = 0; k < depth; k += kDepthStep, tables += kTableBytes) {
    const int8x8_t eight = vld1_s8(a + k);
    const uint8x8_t low = vand_u8(vreinterpret_u8_s8(eight), vdup_n_u8(15));
    const uint8x8_t high = vreinterpret_u8_s8(vshr_n_s8(eight, 4));
    vst1q_u8(tables, SubsetSums<0>(zero, low));
    vst1q_u8(tables + 16, SubsetSums<0>(bias, high));
    vst1q_u8(tables + 32, SubsetSums<4>(zero, low));
    vst1q_u8(tables + 48, SubsetSums<4>(bias, high));
  }
}

// Indices of 16 outs for the first and the last 4 of 8 depths.
struct Indices {
  uint8x16_t first, last;

  explicit Indices(const uint8_t* w) {
    const uint8x16_t both = vld1q_u8(w);
    first = LowNibbles(both);
    last = vshrq_n_u8(both, 4);
  }

  // Low and high sums of the 8 depths, at most 120 each.
  void LookUp(const uint8_t* table, uint8x16_t* low, uint8x16_t* high) const {
    *low = vaddq_u8(vqtbl1q_u8(vld1q_u8(table), first),
                    vqtbl1q_u8(vld1q_u8(table + 32), last));
    *high = vaddq_u8(vqtbl1q_u8(vld1q_u8(table + 16), first),
                     vqtbl1q_u8(vld1q_u8(table + 48), last));
  }
};

// Sums of 32 outs in 16 bits, of at most kSafeSteps steps.
template <int kTile>
struct Words {
  uint16x8_t sums[kTile][2 * kHalves];

  inline void Sum(const uint8_t* w, const uint8_t* tables, size_t stride,
                  int steps) {
    for (auto& of_row : sums) {
      for (uint16x8_t& sum : of_row) sum = vdupq_n_u16(0);
    }
    for (; steps >= 2; steps -= 2) {
      Prefetch(w, 2 * kStepBytes);
      Add<2>(w, tables, stride);
      w += 2 * kStepBytes;
      tables += 2 * kTableBytes;
    }
    if (steps != 0) Add<1>(w, tables, stride);
  }

 private:
  // kSteps: 1 or 2, whose sums fit in bytes.
  template <int kSteps>
  inline void Add(const uint8_t* w, const uint8_t* tables, size_t stride) {
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const Indices even(w + 16 * h);
      const Indices odd(w + (kSteps - 1) * kStepBytes + 16 * h);
#pragma GCC unroll 2
      for (int r = 0; r < kTile; ++r) {
        uint8x16_t low, high;
        even.LookUp(tables + r * stride, &low, &high);
        if constexpr (kSteps == 2) {
          uint8x16_t more_low, more_high;
          odd.LookUp(tables + r * stride + kTableBytes, &more_low, &more_high);
          low = vaddq_u8(low, more_low);
          high = vaddq_u8(high, more_high);
        }
        Widen(low, high, &sums[r][2 * h]);
      }
    }
  }

  static inline void Widen(uint8x16_t low, uint8x16_t high, uint16x8_t* sum) {
    const uint8x16_t factor = vdupq_n_u8(16);
    sum[0] = vaddw_u8(sum[0], vget_low_u8(low));
    sum[0] = vmlal_u8(sum[0], vget_low_u8(high), vget_low_u8(factor));
    sum[1] = vaddw_high_u8(sum[1], low);
    sum[1] = vmlal_high_u8(sum[1], high, factor);
  }
};

template <int kTile>
void Tile(const Product& p, int row, const uint8_t* tables, const uint8_t* w,
          int column) {
  const size_t stride = size_t{1} * p.depth * kScratchBytes;
  const int steps = p.depth / kDepthStep;
  uint32x4_t sums[kTile][kOuts / kQuad];
  for (auto& of_row : sums) {
    for (uint32x4_t& sum : of_row) sum = vdupq_n_u32(0);
  }
  Words<kTile> words;
  for (int done = 0; done < steps; done += kSafeSteps) {
    words.Sum(w + done * kStepBytes, tables + done * kTableBytes, stride,
              steps - done < kSafeSteps ? steps - done : kSafeSteps);
    for (int r = 0; r < kTile; ++r) {
      for (int i = 0; i < 2 * kHalves; ++i) {
        const uint16x8_t sum = words.sums[r][i];
        sums[r][2 * i] = vaddw_u16(sums[r][2 * i], vget_low_u16(sum));
        sums[r][2 * i + 1] = vaddw_high_u16(sums[r][2 * i + 1], sum);
      }
    }
  }
  const int32x4_t bias = vdupq_n_s32(16 * kHighBias * (p.depth / kGroupDepths));
  for (int q = 0; q < kOuts / kQuad && column < p.out_channels; ++q) {
    const FourOutputs outputs = Outputs(p, column);
    for (int r = 0; r < kTile; ++r) {
      const int32x4_t exact =
          vsubq_s32(vreinterpretq_s32_u32(sums[r][q]), bias);
      Store(p, outputs, row + r, vmulq_n_s32(exact, p.bit_step));
    }
    column += kQuad;
  }
}

template <int kTile>
void Rows(const Product& p, int row) {
  auto* tables = static_cast<uint8_t*>(p.scratch);
  for (int r = 0; r < kTile; ++r) {
    MakeTables(p.a + (row + r) * p.a_stride, p.depth,
               tables + size_t{1} * r * p.depth * kScratchBytes);
  }
  const uint8_t* w = p.weights;
  for (int column = 0; column < p.out_channels; column += kOuts) {
    Tile<kTile>(p, row, tables, w, column);
    w += p.depth / kDepthStep * kStepBytes;
  }
}

void MultiplyBits(const Product& p) {
  int row = 0;
  for (; row + kRows <= p.rows; row += kRows) Rows<kRows>(p, row);
  if (row < p.rows) Rows<1>(p, row);
}

}  // namespace

extern const Conv2DKernel conv2d_u1_neon_2x32;

const Conv2DKernel conv2d_u1_neon_2x32 = {"conv2d_u1_neon_2x32",
                                          Packing::kBit,
                                          kRows,
                                          32,
                                          [] { return true; },
                                          MultiplyBits,
                                          &kQuantizeNeon,
                                          kScratchBytes * kRows,
                                          0,
                                          &kRequantizeNeon};

}  // namespace tfc

// Requantization with NEON, 8 channels at a time.
#include <arm_neon.h>

#include "kernels/requantize/requantize.h"

namespace tfc {
namespace {

inline int16x4_t Four(int32x4_t v, const Requantization& to, int o) {
  const int32x4_t zero = vdupq_n_s32(0), shift = vld1q_s32(to.shifts + o);
  v = vshlq_s32(v, vmaxq_s32(shift, zero));
  v = vqrdmulhq_s32(v, vld1q_s32(to.multipliers + o));
  // Rounds ties up; those of negative values are made to end below.
  const int32x4_t right = vminq_s32(shift, zero);
  v = vqaddq_s32(v, vshrq_n_s32(vandq_s32(v, right), 31));
  v = vrshlq_s32(v, right);
  v = vaddq_s32(v, vdupq_n_s32(to.output_zero_point));
  v = vmaxq_s32(v, vdupq_n_s32(to.least));
  return vmovn_s32(vminq_s32(v, vdupq_n_s32(to.greatest)));
}

void Row(const int32_t* sums, int32_t factor, const int32_t* offsets,
         const Requantization& to, int channels, int8_t* y) {
  const auto sum = [&](int o) {
    return vmlaq_n_s32(vld1q_s32(offsets + o), vld1q_s32(sums + o), factor);
  };
  int o = 0;
  for (; o + 8 <= channels; o += 8) {
    const int16x4_t low = Four(sum(o), to, o);
    const int16x4_t high = Four(sum(o + 4), to, o + 4);
    vst1_s8(y + o, vmovn_s16(vcombine_s16(low, high)));
  }
  Requantization rest = to;
  rest.multipliers += o;
  rest.shifts += o;
  kRequantizeRef.row(sums + o, factor, offsets + o, rest, channels - o, y + o);
}

}  // namespace

const RequantizeKernel kRequantizeNeon = {"neon", Row};

}  // namespace tfc

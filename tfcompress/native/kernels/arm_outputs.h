// How the kernels for Arm write outputs. Only for files that are compiled for
// 64-bit Arm.
#ifndef TFCOMPRESS_NATIVE_KERNELS_ARM_OUTPUTS_H_
#define TFCOMPRESS_NATIVE_KERNELS_ARM_OUTPUTS_H_

#include <arm_neon.h>

#include <limits>

#include "kernels/conv2d/conv2d.h"

namespace tfc {
namespace {

constexpr int kQuad = 4;  // consecutive outs

// y[o] = activation(sum[o] * (scales[o] * factor) + bias[o]) for 4 consecutive
// outs, of which as many are read and written as there are.
class FourOutputs {
 public:
  // `bias` may be nullptr.
  FourOutputs(const float* scales, const float* bias, Activation activation,
              int column, int columns)
      : column_(column), count_(columns - column) {
    scale_ = Load(scales + column);
    bias_ = bias != nullptr ? Load(bias + column) : vdupq_n_f32(0.0f);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    low_ = vdupq_n_f32(activation == Activation::kNone ? -kInfinity : 0.0f);
    high_ = vdupq_n_f32(activation == Activation::kRelu6 ? 6.0f : kInfinity);
  }

  // y: the outputs of all columns.
  void Store(int32x4_t sum, float factor, float* y) const {
    float32x4_t v = vmulq_f32(vcvtq_f32_s32(sum), vmulq_n_f32(scale_, factor));
    v = vaddq_f32(v, bias_);
    // Neither is true of a NaN, which so stays.
    v = vbslq_f32(vcltq_f32(v, low_), low_, v);
    v = vbslq_f32(vcgtq_f32(v, high_), high_, v);
    Write(v, y);
  }

  // The sums alone, as int32.
  void StoreSums(int32x4_t sum, float* y) const {
    Write(vreinterpretq_f32_s32(sum), y);
  }

 private:
  void Write(float32x4_t v, float* y) const {
    if (count_ >= kQuad) return vst1q_f32(y + column_, v);
    float four[kQuad];
    vst1q_f32(four, v);
    for (int i = 0; i < count_; ++i) y[column_ + i] = four[i];
  }

  float32x4_t Load(const float* from) const {
    if (count_ >= kQuad) return vld1q_f32(from);
    float four[kQuad] = {};
    for (int i = 0; i < count_; ++i) four[i] = from[i];
    return vld1q_f32(four);
  }

  int column_;
  int count_;
  float32x4_t scale_, bias_, low_, high_;
};

}  // namespace
}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_ARM_OUTPUTS_H_

// The specification of activation quantization, in obvious loops.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/quantize/quantize.h"

namespace tfc {
namespace {

uint32_t AbsMaxBits(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    bits &= 0x7fffffffu;
    if (bits > largest) largest = bits;
  }
  return largest;
}

void Quantize(const float* x, size_t n, float inverse_scale, int8_t* q) {
  for (size_t i = 0; i < n; ++i) {
    q[i] = static_cast<int8_t>(std::nearbyintf(x[i] * inverse_scale));
  }
}

void RowSums(const int8_t* q, size_t stride, int rows, size_t n, int32_t factor,
             int32_t* sums) {
  for (int r = 0; r < rows; ++r, q += stride) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; ++i) sum += q[i];
    sums[r] = static_cast<int32_t>(static_cast<uint32_t>(sum) *
                                   static_cast<uint32_t>(factor));
  }
}

}  // namespace

const QuantizeKernel kQuantizeRef = {"ref", AbsMaxBits, Quantize, RowSums};

ImageScale ScaleOf(uint32_t abs_max_bits) {
  constexpr uint32_t kInfinityBits = 0x7f800000u;
  constexpr float kSmallest = 127.0f * std::numeric_limits<float>::min();
  if (abs_max_bits >= kInfinityBits) {
    return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  }
  float abs_max;
  std::memcpy(&abs_max, &abs_max_bits, sizeof(abs_max));
  if (abs_max < kSmallest) return {0.0f, 0.0f};
  return {abs_max / 127.0f, 127.0f / abs_max};
}

}  // namespace tfc

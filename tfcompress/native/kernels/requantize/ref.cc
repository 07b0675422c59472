// The specification of requantization, in obvious loops.
#include <algorithm>

#include "kernels/requantize/requantize.h"

namespace tfc {
namespace {

int32_t Wrapped(uint32_t v) { return static_cast<int32_t>(v); }

// round(a * b / 2^31), ties up; b is not negative.
int32_t DoublingHighProduct(int32_t a, int32_t b) {
  const int64_t product = int64_t{a} * b;
  return static_cast<int32_t>((product + (int64_t{1} << 30)) >> 31);
}

// round(v / 2^exponent), ties away from zero.
int32_t DivideByPowerOfTwo(int32_t v, int exponent) {
  const int32_t mask = Wrapped((uint32_t{1} << exponent) - 1);
  const int32_t threshold = (mask >> 1) + (v < 0 ? 1 : 0);
  return (v >> exponent) + ((v & mask) > threshold ? 1 : 0);
}

void Row(const int32_t* sums, int32_t factor, const int32_t* offsets,
         const Requantization& to, int channels, int8_t* y) {
  for (int o = 0; o < channels; ++o) {
    const uint32_t sum =
        static_cast<uint32_t>(sums[o]) * static_cast<uint32_t>(factor) +
        static_cast<uint32_t>(offsets[o]);
    const int shift = to.shifts[o];
    const int32_t shifted = Wrapped(sum << std::max(shift, 0));
    const int32_t v =
        DivideByPowerOfTwo(DoublingHighProduct(shifted, to.multipliers[o]),
                           std::max(-shift, 0)) +
        to.output_zero_point;
    y[o] = static_cast<int8_t>(std::min(to.greatest, std::max(to.least, v)));
  }
}

}  // namespace

const RequantizeKernel kRequantizeRef = {"ref", Row};

}  // namespace tfc

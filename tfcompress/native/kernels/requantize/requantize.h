// int32 sums to int8 outputs, with the bits of TFLite's reference kernels:
// MultiplyByQuantizedMultiplier in its form that rounds twice.
#ifndef TFCOMPRESS_NATIVE_KERNELS_REQUANTIZE_REQUANTIZE_H_
#define TFCOMPRESS_NATIVE_KERNELS_REQUANTIZE_REQUANTIZE_H_

#include <cstddef>
#include <cstdint>

namespace tfc {

// The static quantization of an op, as TFLite prepares it.
struct Requantization {
  int32_t input_zero_point;
  int32_t output_zero_point;
  // Outputs end here: those of the activation, or -128 and 127.
  int32_t least, greatest;
  // One per out channel: input scale * weight scale / output scale is
  // multiplier / 2^31 * 2^shift, -31 <= shift <= 30, multiplier >= 0.
  const int32_t* multipliers;
  const int32_t* shifts;
};

// y[o] = clamp(output_zero_point + (sums[o] * factor + offsets[o])
//              * multipliers[o] / 2^31 * 2^shifts[o])
// where the product is rounded to nearest, ties up, and what a negative shift
// divides to nearest, ties away from zero. Sums wrap around, as they do there.
struct RequantizeKernel {
  const char* name;
  void (*row)(const int32_t* sums, int32_t factor, const int32_t* offsets,
              const Requantization& to, int channels, int8_t* y);
};

extern const RequantizeKernel kRequantizeRef;
#ifdef TFC_X86_64
extern const RequantizeKernel kRequantizeAvx2;
#endif
#ifdef TFC_AARCH64
extern const RequantizeKernel kRequantizeNeon;
#endif

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_REQUANTIZE_REQUANTIZE_H_

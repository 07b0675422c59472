// Symmetric int8 quantization of activations: x = scale * q, |q| <= 127.
#ifndef TFCOMPRESS_NATIVE_KERNELS_QUANTIZE_QUANTIZE_H_
#define TFCOMPRESS_NATIVE_KERNELS_QUANTIZE_QUANTIZE_H_

#include <cstddef>
#include <cstdint>

namespace tfc {

// One implementation; all give the same bits.
struct QuantizeKernel {
  const char* name;

  // Largest |x[i]| as the bits of a float; a NaN or an infinity gives
  // 0x7f800000 or more. 0 for n = 0.
  uint32_t (*abs_max_bits)(const float* x, size_t n);

  // q[i] = x[i] * inverse_scale, rounded to nearest, ties to even. Reads and
  // writes exactly n elements; |x[i] * inverse_scale| must be below 127.5.
  void (*quantize)(const float* x, size_t n, float inverse_scale, int8_t* q);

  // sums[r] = factor * (sum of row r) modulo 2^32, for rows of n codes that are
  // `stride` bytes apart; n is a multiple of 8 and at most 2^24.
  void (*row_sums)(const int8_t* q, size_t stride, int rows, size_t n,
                   int32_t factor, int32_t* sums);
};

extern const QuantizeKernel kQuantizeRef;
#ifdef TFC_X86_64
extern const QuantizeKernel kQuantizeAvx2;

// As kQuantizeAvx2.quantize, to int16.
void QuantizeWordsAvx2(const float* x, size_t n, float inverse_scale,
                       int16_t* q);
#endif
#ifdef TFC_AARCH64
extern const QuantizeKernel kQuantizeNeon;

// As kQuantizeNeon.quantize, to int16.
void QuantizeWordsNeon(const float* x, size_t n, float inverse_scale,
                       int16_t* q);
#endif

// Scale of an image: absmax / 127. `inverse` is 0 when every code must be 0:
// for an image that is all 0 (scale 0, also below 1.5e-36, where 1 / scale
// leaves the float range) and for one with a NaN or an infinity (scale NaN).
struct ImageScale {
  float scale;
  float inverse;
};

ImageScale ScaleOf(uint32_t abs_max_bits);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_QUANTIZE_QUANTIZE_H_

// float16, from a float32 that it can hold.
#ifndef TFCOMPRESS_NATIVE_FORMAT_HALF_H_
#define TFCOMPRESS_NATIVE_FORMAT_HALF_H_

#include <cstdint>
#include <cstring>

namespace tfc {

// Whether `value` is finite and exact in float16; then `half` is its bits.
inline bool ExactHalf(float value, uint16_t* half) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t sign = bits >> 16 & 0x8000, exponent = bits >> 23 & 255;
  if (bits << 1 == 0) {
    *half = uint16_t(sign);
    return true;
  }
  // 2^-24, the smallest denormal, to below 2^16.
  if (exponent < 103 || exponent > 142) return false;
  const bool normal = exponent >= 113;
  const uint32_t dropped = normal ? 13 : 126 - exponent;
  const uint32_t mantissa = bits & 0x7FFFFF;
  const uint32_t whole =
      normal ? (exponent - 112) << 23 | mantissa : mantissa | 0x800000;
  if ((whole & ((1u << dropped) - 1)) != 0) return false;
  *half = uint16_t(sign | whole >> dropped);
  return true;
}

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_HALF_H_

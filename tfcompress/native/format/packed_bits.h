// Fields of a few bits, packed least significant bit first
// (tfcompress/codec/FORMAT.md, section 4).
#ifndef TFCOMPRESS_NATIVE_FORMAT_PACKED_BITS_H_
#define TFCOMPRESS_NATIVE_FORMAT_PACKED_BITS_H_

#include <cstdint>
#include <string>

#include "format/error.h"
#include "format/reader.h"

namespace tfc {

// Bytes of `count` < 2^40 fields of up to 32 bits.
inline uint64_t PackedSize(uint64_t count, int num_bits) {
  return (count * uint64_t(num_bits) + 7) / 8;
}

// Bits of a position in a group of n:m zeros.
inline int PositionBits(uint64_t group) {
  int bits = 0;
  while (uint64_t{1} << bits < group) ++bits;
  return bits;
}

// The caller takes no more fields than the bytes hold.
class BitReader {
 public:
  explicit BitReader(const Bytes& bytes) : next_(bytes.data) {}

  // A field of up to 32 bits.
  uint32_t Take(int num_bits) {
    while (held_bits_ < num_bits) {
      held_ |= uint64_t{*next_++} << held_bits_;
      held_bits_ += 8;
    }
    const auto field = uint32_t(held_ & ((uint64_t{1} << num_bits) - 1));
    held_ >>= num_bits;
    held_bits_ -= num_bits;
    return field;
  }

  // Throws Error unless the unused bits of the last byte are 0.
  void End(const char* section) const {
    if (held_ != 0) {
      throw Error(
          std::string("the unused bits of a ") + section + " section must be 0",
          Number("bits", held_));
    }
  }

 private:
  const uint8_t* next_;
  uint64_t held_ = 0;
  int held_bits_ = 0;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_PACKED_BITS_H_

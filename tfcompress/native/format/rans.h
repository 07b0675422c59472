// The interleaved rANS of tfcompress/codec/FORMAT.md, section 5.3.
#ifndef TFCOMPRESS_NATIVE_FORMAT_RANS_H_
#define TFCOMPRESS_NATIVE_FORMAT_RANS_H_

#include <cstdint>
#include <vector>

namespace tfc {

// Throws Error when a value is not smaller than the alphabet, 1 to 256.
std::vector<uint8_t> EncodeRans(const uint8_t* values, uint64_t count,
                                int alphabet);

// Throws Error when the section does not hold exactly `count` values.
void DecodeRans(const uint8_t* section, uint64_t size, int alphabet,
                uint8_t* values, uint64_t count);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_RANS_H_

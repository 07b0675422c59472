#ifndef TFCOMPRESS_NATIVE_FORMAT_CRC32C_H_
#define TFCOMPRESS_NATIVE_FORMAT_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace tfc {

// CRC-32C: Castagnoli polynomial, reflected, init and final xor 0xFFFFFFFF.
// The check value of "123456789" is 0xE3069283 (RFC 3720, appendix B.4).
uint32_t Crc32c(const uint8_t* bytes, size_t size);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_CRC32C_H_

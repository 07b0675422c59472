// From the sections of a payload to symbols (tfcompress/codec/FORMAT.md,
// sections 3 to 5).
#ifndef TFCOMPRESS_NATIVE_FORMAT_CODES_H_
#define TFCOMPRESS_NATIVE_FORMAT_CODES_H_

#include <cstdint>
#include <vector>

#include "format/payload.h"

namespace tfc {

// One symbol per byte, in C order of dims; the exponents of floats. Throws
// Error when the sections cannot come from an encoder.
std::vector<uint8_t> DecodeSymbols(const Payload& payload);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_CODES_H_

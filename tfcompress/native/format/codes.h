// From the codes section of a payload to symbols and weights
// (tfcompress/codec/FORMAT.md, sections 1 to 3).
#ifndef TFCOMPRESS_NATIVE_FORMAT_CODES_H_
#define TFCOMPRESS_NATIVE_FORMAT_CODES_H_

#include <cstdint>
#include <vector>

#include "format/payload.h"

namespace tfc {

// One symbol per byte, in C order of dims. Throws Error when the codes section
// cannot come from an encoder.
std::vector<uint8_t> DecodeSymbols(const Payload& payload);

// out[i] = scale[c] * (symbol - 2^(num_bits-1)), or scale[c] *
// codebook[symbol], in float32; `out` has payload.num_codes elements.
void DecodeWeights(const Payload& payload, float* out);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_CODES_H_

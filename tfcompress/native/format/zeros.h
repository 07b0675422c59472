// Zeros that stand apart from the values (tfcompress/codec/FORMAT.md, section
// 3).
#ifndef TFCOMPRESS_NATIVE_FORMAT_ZEROS_H_
#define TFCOMPRESS_NATIVE_FORMAT_ZEROS_H_

#include <cstdint>

#include "format/payload.h"

namespace tfc {

// How many values the coder wrote, at most num_codes. Both functions are for
// payloads with a side section and throw Error when it contradicts the header
// or the values.
uint64_t CountValues(const Payload& payload);

// Spreads the values, which are the last CountValues() of the `num_codes`
// symbols, over all of them.
void SpreadValues(const Payload& payload, uint64_t num_values,
                  uint8_t* symbols);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_ZEROS_H_

// The fields of a payload's header (tfcompress/codec/FORMAT.md, section 1), in
// their order. Every function throws Error on a contradiction.
#ifndef TFCOMPRESS_NATIVE_FORMAT_FIELDS_H_
#define TFCOMPRESS_NATIVE_FORMAT_FIELDS_H_

#include <cstdint>
#include <vector>

#include "format/payload.h"

namespace tfc {

// Of the sections that follow the header: numbers of floats, then of bytes.
struct SectionSizes {
  uint64_t scales, codebook, bias, side, codes;
};

// From the four bytes version, encoding, num_bits and form.
void SetFixedFields(const uint8_t* bytes, Payload& payload);

// rank and dims.
void TakeDims(Reader& reader, Payload& payload);

// The fields from granularity to codes_size.
SectionSizes TakeSizes(Reader& reader, Payload& payload);

void CheckScales(const std::vector<float>& scales);
void CheckCodebook(const std::vector<float>& codebook);

// Whether these bytes are the end of a payload.
void CheckPadding(const Bytes& padding);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_FIELDS_H_

// From symbols to the tensor in its own type (tfcompress/codec/FORMAT.md,
// section 2).
#ifndef TFCOMPRESS_NATIVE_FORMAT_WEIGHTS_H_
#define TFCOMPRESS_NATIVE_FORMAT_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "format/payload.h"

namespace tfc {

// All throw Error when a weight is not finite or not exact in its type, or when
// the sections cannot come from an encoder.

// Bytes of the decoded tensor.
uint64_t TensorBytes(const Payload& payload);

// `tensor` has TensorBytes() and any alignment.
void DecodeTensor(const Payload& payload, uint8_t* tensor);

// The weights of any type, as float32.
void DecodeWeights(const Payload& payload, float* weights);

// The symbols of weights that are sound.
std::vector<uint8_t> DecodeSoundSymbols(const Payload& payload);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_WEIGHTS_H_

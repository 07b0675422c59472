// The weight in a payload (tfcompress/codec/FORMAT.md), as the ops see it.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_STORED_WEIGHT_H_
#define TFCOMPRESS_NATIVE_DELEGATE_STORED_WEIGHT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "abi/tflite_abi.h"
#include "format/payload.h"
#include "format/weights.h"

namespace tfc {

// weight[i] = scale * levels[symbols[i]]; no scales mean that all are 1.
class StoredWeight {
 public:
  // Throws Error on any contradiction. `bytes` may have any alignment and must
  // outlive the result.
  StoredWeight(const uint8_t* bytes, uint64_t size)
      : payload_(ParsePayload(bytes, size)) {}

  Encoding encoding() const { return payload_.encoding; }
  ElementType type() const { return payload_.type; }
  int num_bits() const { return payload_.num_bits; }
  uint64_t count() const { return payload_.num_codes; }
  const std::vector<uint64_t>& dims() const { return payload_.dims; }
  const std::vector<float>& scales() const { return payload_.scales; }
  int channel_axis() const { return payload_.channel_axis; }  // or -1
  // Weights that share a scale, or 0.
  uint64_t block() const { return payload_.block; }
  const std::vector<float>& levels() const { return payload_.levels; }
  const std::vector<float>& bias() const { return payload_.bias; }

  // The tensor that it is in a graph.
  abi::TensorType TensorType() const;
  uint64_t TensorBytes() const { return tfc::TensorBytes(payload_); }

  // Each throws Error when the codes cannot come from an encoder. Symbols are
  // one per byte, in C order of dims; `tensor` has TensorBytes().
  std::vector<uint8_t> Symbols() const { return DecodeSoundSymbols(payload_); }
  void Decode(uint8_t* tensor) const { DecodeTensor(payload_, tensor); }

  // "[3, 5]"
  std::string ShapeText() const { return tfc::ShapeText(payload_.dims); }

 private:
  Payload payload_;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_STORED_WEIGHT_H_

// The weight in a payload (tfcompress/codec/FORMAT.md), as the ops see it.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_STORED_WEIGHT_H_
#define TFCOMPRESS_NATIVE_DELEGATE_STORED_WEIGHT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "abi/tflite_abi.h"
#include "c/tfc_decoder.h"

namespace tfc {

// weight[i] = scale * levels[symbols[i]]; no scales mean that all are 1.
class StoredWeight {
 public:
  // Throws Error on any contradiction. `bytes` may have any alignment and must
  // outlive the result.
  StoredWeight(const uint8_t* bytes, uint64_t size);

  tfc_encoding encoding() const { return info_.encoding; }
  tfc_type type() const { return info_.type; }
  int num_bits() const { return static_cast<int>(info_.num_bits); }
  uint64_t count() const { return info_.count; }
  const std::vector<uint64_t>& dims() const { return dims_; }
  const std::vector<float>& scales() const { return scales_; }
  int channel_axis() const { return channel_axis_; }  // or -1
  uint64_t block() const { return block_; }  // weights that share a scale, or 0
  const std::vector<float>& levels() const { return levels_; }  // no floats
  const std::vector<float>& bias() const { return bias_; }

  // The tensor that it is in a graph.
  abi::TensorType TensorType() const;
  uint64_t TensorBytes() const { return info_.output_size; }

  // Each throws Error when the codes cannot come from an encoder. Symbols are
  // one per byte, in C order of dims; `tensor` has TensorBytes().
  std::vector<uint8_t> Symbols() const;
  void Decode(uint8_t* tensor) const;

  // "[3, 5]"
  std::string ShapeText() const;

 private:
  void ReadScales();

  tfc_info info_;
  std::vector<uint64_t> dims_;
  std::vector<float> scales_, levels_, bias_;
  int channel_axis_ = -1;
  uint64_t block_ = 0;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_STORED_WEIGHT_H_

// Reading and changing the runtime's graph through its Context.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_GRAPH_H_
#define TFCOMPRESS_NATIVE_DELEGATE_GRAPH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "abi/tflite_abi.h"
#include "format/payload.h"

namespace tfc {

// A copy of what one of our custom ops says of itself: the runtime's own node
// moves when others are claimed.
struct OpNode {
  int index;
  std::string name;  // "TfcConv2D"
  std::vector<int> inputs;
  std::vector<int> outputs;
  std::vector<uint8_t> options;

  // "TfcConv2D (node 3)", the start of every message about it.
  std::string Label() const {
    return name + " (node " + std::to_string(index) + ")";
  }
};

// The custom ops whose name starts with "Tfc", in execution order.
std::vector<OpNode> FindOpNodes(abi::Context* context);

// Throws Error when there is no such tensor. The reference is good until the
// runtime is called again.
abi::Tensor& TensorAt(abi::Context* context, int index);

std::vector<int> DimsOf(const abi::Tensor& tensor);
int64_t ElementCount(const std::vector<int>& dims);
std::string DimsText(const std::vector<int>& dims);

// Throws Error unless the tensor is float32.
void RequireFloat32(abi::Context* context, int index, const std::string& what);

// The payload in a constant tensor. It is also the proof that the runtime's
// structures lie where abi/ says: type, shape, byte count, magic and length
// must agree, or the runtime is refused.
Payload PayloadOf(abi::Context* context, int index, const std::string& label);

void ResizeTo(abi::Context* context, int index, const std::vector<int>& dims);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_GRAPH_H_

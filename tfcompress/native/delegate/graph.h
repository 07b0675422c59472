// Reading and changing the runtime's graph through its Context.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_GRAPH_H_
#define TFCOMPRESS_NATIVE_DELEGATE_GRAPH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "abi/tflite_abi.h"
#include "delegate/stored_weight.h"

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

// Throws Error when the bytes do not fit in 63 bits.
size_t ByteCount(const std::vector<int>& dims, size_t element_size);

// "int8", or "type 6".
std::string TypeName(int type);

// Each throws Error unless what its name says holds. `what` and `label` start
// the message.
void RequireType(abi::Context* context, int index, abi::TensorType type,
                 const std::string& what);
void RequireNoConstant(abi::Context* context, int index,
                       const std::string& what);
void RequireBytes(const abi::Tensor& tensor, size_t bytes,
                  const std::string& what);
void RequireOptions(const OpNode& node, size_t count);  // of version 1
void RequireFloatCodes(const StoredWeight& weight, const std::string& label);
void RequireNoBias(const StoredWeight& weight, const std::string& label);

// The payload in a constant tensor. It is also the proof that the runtime's
// structures lie where abi/ says: type, shape, byte count, magic and length
// must agree, or the runtime is refused.
StoredWeight WeightOf(abi::Context* context, int index,
                      const std::string& label);

void ResizeTo(abi::Context* context, int index, const std::vector<int>& dims);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_GRAPH_H_

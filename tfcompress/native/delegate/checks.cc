// What ops require of their tensors, options and payloads.
#include "delegate/graph.h"
#include "format/error.h"

namespace tfc {

std::string TypeName(int type) {
  switch (type) {
    case abi::kFloat32:
      return "float32";
    case abi::kInt32:
      return "int32";
    case abi::kUInt8:
      return "uint8";
    case abi::kInt8:
      return "int8";
    case abi::kFloat16:
      return "float16";
    case abi::kInt4:
      return "int4";
    default:
      return "type " + std::to_string(type);
  }
}

void RequireType(abi::Context* context, int index, abi::TensorType type,
                 const std::string& what) {
  const int received = TensorAt(context, index).type;
  if (received != type) {
    throw Error(what + " must be " + TypeName(type),
                "type=" + TypeName(received));
  }
}

void RequireNoConstant(abi::Context* context, int index,
                       const std::string& what) {
  if (TensorAt(context, index).allocation_type == abi::kMmapRo) {
    throw Error(what + " must not be a constant of the file",
                "tensor=" + std::to_string(index));
  }
}

void RequireBytes(const abi::Tensor& tensor, size_t bytes,
                  const std::string& what) {
  if (tensor.data == nullptr || tensor.bytes < bytes) {
    throw Error(what + " must be as large as when it was prepared",
                "bytes=" + std::to_string(tensor.bytes) +
                    ", prepared=" + std::to_string(bytes),
                "Call allocate_tensors() after a resize");
  }
}

void RequireOptions(const OpNode& node, size_t count) {
  if (node.options.size() != count || node.options[0] != 1) {
    throw Error(node.Label() + " must have the options of version 1",
                "bytes=" + std::to_string(node.options.size()),
                "Use the tfcompress release that wrote the file");
  }
}

void RequireFloatCodes(const StoredWeight& weight, const std::string& label) {
  if (weight.type() != ElementType::kFloat32 ||
      weight.encoding() == Encoding::kFloat) {
    throw Error(label + ": the payload must hold float32 weights as codes",
                "type=" + TypeName(weight.TensorType()) +
                    ", encoding=" + std::to_string(int(weight.encoding())),
                "Pack this weight for TfcDecode");
  }
}

void RequireNoBias(const StoredWeight& weight, const std::string& label) {
  if (!weight.bias().empty()) {
    throw Error(label + ": the payload must have no bias",
                "bias_size=" + std::to_string(weight.bias().size()));
  }
}

}  // namespace tfc

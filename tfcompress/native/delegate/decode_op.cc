#include <cstring>
#include <utility>

#include "delegate/op.h"
#include "format/error.h"

namespace tfc {
namespace {

// XNNPACK may read this far past the end of a constant.
constexpr size_t kTailBytes = 128;

class DecodeOp : public Op {
 public:
  DecodeOp(int output, AlignedBytes weights, size_t bytes)
      : output_(output), weights_(std::move(weights)), bytes_(bytes) {}

  // XNNPACK looks at the graph only later, and finds a constant there.
  void Attach(abi::Context* context) override {
    abi::Tensor& tensor = TensorAt(context, output_);
    bytes_before_ = tensor.bytes;
    allocation_type_before_ = tensor.allocation_type;
    tensor.data = weights_.get();
    tensor.bytes = bytes_;
    tensor.allocation_type = abi::kMmapRo;
  }

  void Detach(abi::Context* context) override {
    abi::Tensor& tensor = TensorAt(context, output_);
    if (tensor.data != weights_.get()) return;
    tensor.data = nullptr;  // whatever was there, its arena is gone
    tensor.bytes = bytes_before_;
    tensor.allocation_type = allocation_type_before_;
  }

  const char* ProfileName() const override { return "constant"; }

 private:
  int output_;
  AlignedBytes weights_;
  size_t bytes_;
  size_t bytes_before_ = 0;
  int allocation_type_before_ = abi::kArenaRw;
};

}  // namespace

std::unique_ptr<Op> MakeDecode(abi::Context* context, const OpNode& node) {
  const std::string label = node.Label();
  if (node.inputs.size() != 1 || node.outputs.size() != 1) {
    throw Error(label + " must have one input and one output",
                "inputs=" + std::to_string(node.inputs.size()) +
                    ", outputs=" + std::to_string(node.outputs.size()));
  }
  RequireOptions(node, 1);
  const int output = node.outputs[0];
  RequireNoConstant(context, output, label + ": the output");
  const StoredWeight weight = WeightOf(context, node.inputs[0], label);
  RequireNoBias(weight, label);
  RequireType(context, output, weight.TensorType(), label + ": the output");
  const std::vector<int> dims = DimsOf(TensorAt(context, output));
  if (static_cast<uint64_t>(ElementCount(dims)) != weight.count()) {
    throw Error(
        label + ": the output must have as many elements as the payload",
        "shape=" + DimsText(dims) + ", payload=" + weight.ShapeText());
  }
  const size_t bytes = weight.TensorBytes();
  AlignedBytes weights = AllocateAligned(bytes + kTailBytes);
  try {
    weight.Decode(weights.get());
  } catch (const Error& error) {
    throw error.At(label);
  }
  std::memset(weights.get() + bytes, 0, kTailBytes);
  return std::make_unique<DecodeOp>(output, std::move(weights), bytes);
}

}  // namespace tfc

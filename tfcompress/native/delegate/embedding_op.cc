#include <climits>
#include <utility>

#include "delegate/op.h"
#include "format/error.h"
#include "kernels/embedding/embedding.h"

namespace tfc {
namespace {

class EmbeddingOp : public Op {
 public:
  EmbeddingOp(const OpNode& node, std::vector<int> row, Embedding table)
      : label_(node.Label()),
        indices_(node.inputs[0]),
        y_(node.outputs[0]),
        row_(std::move(row)),
        table_(std::move(table)) {}

  void Prepare(abi::Context* context) override {
    std::vector<int> dims = DimsOf(TensorAt(context, indices_));
    in_bytes_ = ByteCount(dims, sizeof(int32_t));
    dims.insert(dims.end(), row_.begin(), row_.end());
    out_bytes_ = ByteCount(dims, sizeof(float));
    ResizeTo(context, y_, dims);
  }

  void Invoke(abi::Context* context) override {
    if (out_bytes_ == 0) return;
    const abi::Tensor& indices = TensorAt(context, indices_);
    const abi::Tensor& y = TensorAt(context, y_);
    RequireBytes(indices, in_bytes_, label_ + ": the indices");
    RequireBytes(y, out_bytes_, label_ + ": the output");
    const auto* values = static_cast<const int32_t*>(indices.data);
    const size_t count = in_bytes_ / sizeof(int32_t);
    for (size_t i = 0; i < count; ++i) {
      if (values[i] < 0 || static_cast<uint64_t>(values[i]) >= table_.rows()) {
        throw Error(label_ + ": an index must be 0 to rows - 1",
                    "indices[" + std::to_string(i) +
                        "]=" + std::to_string(values[i]) +
                        ", rows=" + std::to_string(table_.rows()));
      }
    }
    table_.Gather(values, count, static_cast<float*>(y.data));
  }

  const char* ProfileName() const override { return table_.KernelName(); }

 private:
  std::string label_;
  int indices_, y_;
  std::vector<int> row_;  // shape
  Embedding table_;
  size_t in_bytes_ = 0, out_bytes_ = 0;
};

std::vector<int> RowShape(const StoredWeight& weight,
                          const std::string& label) {
  std::vector<int> row;
  for (size_t axis = 1; axis < weight.dims().size(); ++axis) {
    if (weight.dims()[axis] > INT_MAX) {
      throw Error(label + ": the dims of a row must be below 2^31",
                  "shape=" + weight.ShapeText());
    }
    row.push_back(static_cast<int>(weight.dims()[axis]));
  }
  return row;
}

Embedding MakeTable(const StoredWeight& weight, bool use_ref) {
  const std::vector<uint8_t> symbols = weight.Symbols();
  const float one = 1.0f;
  TableView view{};
  view.rows = weight.dims()[0];
  view.columns = weight.count() / weight.dims()[0];
  view.num_bits = weight.num_bits();
  view.symbols = symbols.data();
  view.levels = weight.levels().data();
  view.num_levels = static_cast<int>(weight.levels().size());
  view.scales = weight.scales().empty() ? &one : weight.scales().data();
  view.num_scales = weight.scales().empty() ? 1 : weight.scales().size();
  return Embedding(view, use_ref);
}

}  // namespace

std::unique_ptr<Op> MakeEmbedding(abi::Context* context, const OpNode& node,
                                  const Settings& settings) {
  const std::string label = node.Label();
  if (node.inputs.size() != 2 || node.outputs.size() != 1) {
    throw Error(label + " must have inputs indices, payload and one output",
                "inputs=" + std::to_string(node.inputs.size()) +
                    ", outputs=" + std::to_string(node.outputs.size()));
  }
  RequireOptions(node, 1);
  RequireType(context, node.inputs[0], abi::kInt32, label + ": the indices");
  RequireType(context, node.outputs[0], abi::kFloat32, label + ": the output");
  RequireNoConstant(context, node.outputs[0], label + ": the output");
  const StoredWeight weight = WeightOf(context, node.inputs[1], label);
  RequireFloatCodes(weight, label);
  RequireNoBias(weight, label);
  if (weight.channel_axis() > 0) {
    throw Error(label + ": scales must lie along the rows",
                "channel_axis=" + std::to_string(weight.channel_axis()),
                "Pack this weight for TfcDecode");
  }
  std::vector<int> row = RowShape(weight, label);
  try {
    return std::make_unique<EmbeddingOp>(node, std::move(row),
                                         MakeTable(weight, settings.use_ref));
  } catch (const Error& error) {
    throw error.At(label);
  }
}

}  // namespace tfc

#include <climits>
#include <utility>

#include "delegate/conv_op.h"
#include "format/error.h"

namespace tfc {
namespace {

class FullyConnectedOp : public ConvOp {
 public:
  FullyConnectedOp(abi::Context* context, const OpNode& node, ConvKind kind,
                   const Settings& settings,
                   std::shared_ptr<Workspace> workspace)
      : ConvOp(context, node, 3, kind, std::move(workspace)) {
    if (node.options[2] > 1) {
      throw Error(label_ + ": keep_num_dims must be 0 or 1",
                  "keep_num_dims=" + std::to_string(node.options[2]));
    }
    keep_num_dims_ = node.options[2] != 0;
    const StoredWeight weight = WeightOf(context, node.inputs[1], label_);
    if (weight.dims().size() != 2) {
      throw Error(label_ + ": the payload must be [out, in]",
                  "shape=" + weight.ShapeText());
    }
    MakeKernel(weight, {weight.dims()[0], 1, 1, weight.dims()[1]}, settings);
    in_channels_ = static_cast<int>(weight.dims()[1]);
  }

 protected:
  ConvGeometry Plan(const std::vector<int>& x,
                    std::vector<int>* out) const override {
    const int64_t count = ElementCount(x);
    RequireShape(count % in_channels_ == 0,
                 "x must have a multiple of " + std::to_string(in_channels_) +
                     " elements",
                 x);
    RequireShape(count / in_channels_ <= INT_MAX,
                 "x must have fewer than 2^31 rows", x);
    const int rows = static_cast<int>(count / in_channels_);
    if (keep_num_dims_) {
      RequireShape(!x.empty() && x.back() == in_channels_,
                   "the last dim of x must be " + std::to_string(in_channels_),
                   x);
      *out = x;
      out->back() = out_channels_;
    } else {
      *out = {rows, out_channels_};
    }
    return {rows, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
  }

 private:
  bool keep_num_dims_;
  int in_channels_;
};

}  // namespace

std::unique_ptr<Op> MakeFullyConnected(abi::Context* context,
                                       const OpNode& node, ConvKind kind,
                                       const Settings& settings,
                                       std::shared_ptr<Workspace> workspace) {
  return std::make_unique<FullyConnectedOp>(context, node, kind, settings,
                                            std::move(workspace));
}

}  // namespace tfc

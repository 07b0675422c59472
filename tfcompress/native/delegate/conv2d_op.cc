#include <algorithm>
#include <climits>
#include <utility>

#include "delegate/conv_op.h"
#include "format/error.h"

namespace tfc {
namespace {

constexpr int64_t kMaxImageBytes = int64_t{1} << 40;

enum class Padding : uint8_t { kSame = 0, kValid = 1 };

// One spatial axis of a convolution, as TFLite computes it.
struct Axis {
  int64_t out;
  int64_t pad_before;
  int64_t padded;  // pixels, so that every tap of every output is inside
};

Axis PlanAxis(Padding padding, int64_t in, int64_t kernel, int64_t stride,
              int64_t dilation) {
  const int64_t reach = (kernel - 1) * dilation + 1;
  const int64_t out = padding == Padding::kSame
                          ? (in + stride - 1) / stride
                          : (in + stride - reach) / stride;
  const int64_t missing = (out - 1) * stride + reach - in;
  const int64_t pad_before = std::max<int64_t>(missing, 0) / 2;
  return {out, pad_before,
          std::max(pad_before + in, (out - 1) * stride + reach)};
}

class Conv2DOp : public ConvOp {
 public:
  Conv2DOp(abi::Context* context, const OpNode& node, ConvKind kind,
           const Settings& settings, std::shared_ptr<Workspace> workspace)
      : ConvOp(context, node, kind == ConvKind::kDepthwise ? 8 : 7, kind,
               std::move(workspace)) {
    const uint8_t* steps = &node.options[3];
    if (node.options[2] > 1 || std::count(steps, steps + 4, 0) > 0) {
      throw Error(label_ +
                  ": padding must be 0 or 1, strides and dilations positive");
    }
    padding_ = static_cast<Padding>(node.options[2]);
    stride_height_ = steps[0];
    stride_width_ = steps[1];
    dilation_height_ = steps[2];
    dilation_width_ = steps[3];
    const StoredWeight weight = WeightOf(context, node.inputs[1], label_);
    if (weight.dims().size() != 4) {
      throw Error(label_ + ": the payload must be [out, height, width, in]",
                  "shape=" + weight.ShapeText());
    }
    const int multiplier =
        kind == ConvKind::kDepthwise ? Multiplier(weight, node.options[7]) : 1;
    MakeKernel(weight, weight.dims(), settings, multiplier);
    kernel_height_ = static_cast<int64_t>(weight.dims()[1]);
    kernel_width_ = static_cast<int64_t>(weight.dims()[2]);
    in_channels_ = static_cast<int>(weight.dims()[3]) / multiplier;
  }

 protected:
  ConvGeometry Plan(const std::vector<int>& x,
                    std::vector<int>* out) const override {
    RequireShape(
        x.size() == 4 && x[3] == in_channels_,
        "x must be NHWC with " + std::to_string(in_channels_) + " channels", x);
    const Axis vertical = PlanAxis(padding_, x[1], kernel_height_,
                                   stride_height_, dilation_height_);
    const Axis horizontal =
        PlanAxis(padding_, x[2], kernel_width_, stride_width_, dilation_width_);
    RequireShape(vertical.out > 0 && horizontal.out > 0,
                 "x must be at least as large as the dilated kernel", x);
    RequireShape(
        std::max(vertical.padded, horizontal.padded) <= INT_MAX &&
            vertical.padded * horizontal.padded <= INT_MAX &&
            vertical.padded * horizontal.padded * in_channels_ <=
                kMaxImageBytes,
        "an image with its padding must be below 2^31 pixels and 2^40 bytes",
        x);
    *out = {x[0], static_cast<int>(vertical.out),
            static_cast<int>(horizontal.out), out_channels_};
    return {x[0],
            x[1],
            x[2],
            (*out)[1],
            (*out)[2],
            stride_height_,
            stride_width_,
            dilation_height_,
            dilation_width_,
            static_cast<int>(vertical.pad_before),
            static_cast<int>(horizontal.pad_before)};
  }

 private:
  int Multiplier(const StoredWeight& weight, int multiplier) const {
    if (weight.dims()[0] != 1 || multiplier == 0 ||
        weight.dims()[3] % multiplier != 0) {
      throw Error(label_ +
                      ": the payload must be [1, height, width, in * "
                      "multiplier]",
                  "shape=" + weight.ShapeText() +
                      ", multiplier=" + std::to_string(multiplier));
    }
    return multiplier;
  }

  Padding padding_;
  int stride_height_, stride_width_, dilation_height_, dilation_width_;
  int64_t kernel_height_, kernel_width_;
  int in_channels_;
};

}  // namespace

std::unique_ptr<Op> MakeConv2D(abi::Context* context, const OpNode& node,
                               ConvKind kind, const Settings& settings,
                               std::shared_ptr<Workspace> workspace) {
  return std::make_unique<Conv2DOp>(context, node, kind, settings,
                                    std::move(workspace));
}

}  // namespace tfc

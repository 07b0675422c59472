#include <algorithm>
#include <climits>
#include <utility>

#include "delegate/op.h"
#include "format/codes.h"
#include "format/error.h"

namespace tfc {
namespace {

enum class Padding : uint8_t { kSame = 0, kValid = 1 };

// One spatial axis of a convolution, as TFLite computes it.
struct Axis {
  int64_t out;
  int64_t pad_before;
};

Axis PlanAxis(Padding padding, int64_t in, int64_t kernel, int64_t stride,
              int64_t dilation) {
  const int64_t reach = (kernel - 1) * dilation + 1;
  const int64_t out = padding == Padding::kSame
                          ? (in + stride - 1) / stride
                          : (in + stride - reach) / stride;
  const int64_t missing = (out - 1) * stride + reach - in;
  return {out, std::max<int64_t>(missing, 0) / 2};
}

int ToInt(int64_t value, const std::string& what) {
  if (value < 0 || value > INT_MAX) {
    throw Error(what + " must be 0 to 2^31 - 1",
                "value=" + std::to_string(value));
  }
  return static_cast<int>(value);
}

Activation ActivationOf(const OpNode& node, uint8_t code) {
  if (code != 0 && code != 1 && code != 3) {
    throw Error(
        node.Label() + ": the activation must be 0 none, 1 ReLU or 3 ReLU6",
        "activation=" + std::to_string(code));
  }
  return static_cast<Activation>(code);
}

void RequireOptions(const OpNode& node, size_t count) {
  if (node.options.size() != count || node.options[0] != 1) {
    throw Error(node.Label() + " must have the options of version 1",
                "bytes=" + std::to_string(node.options.size()),
                "Use the tfcompress release that wrote the file");
  }
}

// Decodes the payload to symbols, which live only until the kernel has packed
// them in its own layout. `dims` is out, kernel height, kernel width, in.
std::unique_ptr<Conv2D> MakeKernel(const OpNode& node, const Payload& payload,
                                   const std::vector<uint64_t>& dims,
                                   const Settings& settings) {
  if (payload.channel_axis > 0) {
    throw Error(node.Label() + ": scales must lie along the output channels",
                "channel_axis=" + std::to_string(payload.channel_axis),
                "Pack this weight for TfcDecode");
  }
  for (const uint64_t dim : dims) {
    if (dim > INT_MAX) {
      throw Error(node.Label() + ": weight dims must be below 2^31",
                  "shape=" + ShapeText(payload.dims));
    }
  }
  try {
    const std::vector<uint8_t> symbols = DecodeSymbols(payload);
    WeightsView view{};
    view.out_channels = static_cast<int>(dims[0]);
    view.kernel_height = static_cast<int>(dims[1]);
    view.kernel_width = static_cast<int>(dims[2]);
    view.in_channels = static_cast<int>(dims[3]);
    view.num_bits = payload.num_bits;
    view.symbols = symbols.data();
    view.scale = payload.scales.data();
    view.num_scales = static_cast<int>(payload.scales.size());
    view.codebook =
        payload.codebook.empty() ? nullptr : payload.codebook.data();
    view.codebook_size = static_cast<int>(payload.codebook.size());
    return Conv2D::Create(view, settings.arithmetic, settings.use_ref);
  } catch (const Error& error) {
    throw error.At(node.Label());
  }
}

// What the two ops share: x, payload and bias in, one tensor out.
class ConvOp : public Op {
 public:
  ConvOp(abi::Context* context, const OpNode& node,
         std::shared_ptr<Workspace> workspace)
      : label_(node.Label()), workspace_(std::move(workspace)) {
    if (node.inputs.size() < 2 || node.inputs.size() > 3 ||
        node.outputs.size() != 1) {
      throw Error(label_ + " must have inputs x, payload, bias and one output",
                  "inputs=" + std::to_string(node.inputs.size()) +
                      ", outputs=" + std::to_string(node.outputs.size()));
    }
    x_ = node.inputs[0];
    y_ = node.outputs[0];
    RequireFloat32(context, x_, label_ + ": x");
    RequireFloat32(context, y_, label_ + ": the output");
    if (node.inputs.size() == 3) bias_ = node.inputs[2];
    if (bias_ != abi::kOptionalTensor) {
      RequireFloat32(context, bias_, label_ + ": the bias");
    }
  }

  void Prepare(abi::Context* context) override {
    std::vector<int> out_dims;
    geometry_ = Plan(DimsOf(TensorAt(context, x_)), &out_dims);
    if (bias_ != abi::kOptionalTensor) {
      const std::vector<int> dims = DimsOf(TensorAt(context, bias_));
      if (ElementCount(dims) != out_channels_) {
        throw Error(label_ + ": the bias must have one value per out channel",
                    "shape=" + DimsText(dims) +
                        ", channels=" + std::to_string(out_channels_));
      }
    }
    in_bytes_ = ElementCount(DimsOf(TensorAt(context, x_))) * sizeof(float);
    out_bytes_ = ElementCount(out_dims) * sizeof(float);
    ResizeTo(context, y_, out_dims);
    workspace_->Reserve(kernel_->WorkspaceBytes(geometry_));
  }

  void Invoke(abi::Context* context) override {
    const abi::Tensor& x = TensorAt(context, x_);
    const abi::Tensor& y = TensorAt(context, y_);
    if (out_bytes_ == 0) return;
    if (x.data == nullptr || y.data == nullptr || x.bytes < in_bytes_ ||
        y.bytes < out_bytes_) {
      throw Error(label_ + ": tensors must be as large as when prepared",
                  "x bytes=" + std::to_string(x.bytes) +
                      ", y bytes=" + std::to_string(y.bytes),
                  "Call allocate_tensors() after a resize");
    }
    const float* bias = nullptr;
    if (bias_ != abi::kOptionalTensor) {
      bias = static_cast<const float*>(TensorAt(context, bias_).data);
      if (bias == nullptr) throw Error(label_ + ": the bias must have data");
    }
    kernel_->Run(geometry_, static_cast<const float*>(x.data), bias,
                 activation_, static_cast<float*>(y.data), workspace_->data());
  }

  const char* ProfileName() const override { return kernel_->KernelName(); }

 protected:
  virtual ConvGeometry Plan(const std::vector<int>& x,
                            std::vector<int>* out) const = 0;

  void RequireShape(bool good, const std::string& rule,
                    const std::vector<int>& x) const {
    if (!good) throw Error(label_ + ": " + rule, "x=" + DimsText(x));
  }

  std::string label_;
  std::unique_ptr<Conv2D> kernel_;
  Activation activation_ = Activation::kNone;
  int out_channels_ = 0;

 private:
  std::shared_ptr<Workspace> workspace_;
  int x_, y_, bias_ = abi::kOptionalTensor;
  ConvGeometry geometry_{};
  size_t in_bytes_ = 0, out_bytes_ = 0;
};

class FullyConnectedOp : public ConvOp {
 public:
  FullyConnectedOp(abi::Context* context, const OpNode& node,
                   const Settings& settings,
                   std::shared_ptr<Workspace> workspace)
      : ConvOp(context, node, std::move(workspace)) {
    RequireOptions(node, 3);
    activation_ = ActivationOf(node, node.options[1]);
    keep_num_dims_ = node.options[2] != 0;
    const Payload payload = PayloadOf(context, node.inputs[1], label_);
    if (payload.dims.size() != 2) {
      throw Error(label_ + ": the payload must be [out, in]",
                  "shape=" + ShapeText(payload.dims));
    }
    kernel_ = MakeKernel(node, payload,
                         {payload.dims[0], 1, 1, payload.dims[1]}, settings);
    out_channels_ = static_cast<int>(payload.dims[0]);
    in_channels_ = static_cast<int>(payload.dims[1]);
  }

 protected:
  ConvGeometry Plan(const std::vector<int>& x,
                    std::vector<int>* out) const override {
    const int64_t count = ElementCount(x);
    RequireShape(count % in_channels_ == 0,
                 "x must have a multiple of " + std::to_string(in_channels_) +
                     " elements",
                 x);
    const int rows = ToInt(count / in_channels_, label_ + ": rows");
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

class Conv2DOp : public ConvOp {
 public:
  Conv2DOp(abi::Context* context, const OpNode& node, const Settings& settings,
           std::shared_ptr<Workspace> workspace)
      : ConvOp(context, node, std::move(workspace)) {
    RequireOptions(node, 7);
    activation_ = ActivationOf(node, node.options[1]);
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
    const Payload payload = PayloadOf(context, node.inputs[1], label_);
    if (payload.dims.size() != 4) {
      throw Error(label_ + ": the payload must be [out, height, width, in]",
                  "shape=" + ShapeText(payload.dims));
    }
    kernel_ = MakeKernel(node, payload, payload.dims, settings);
    out_channels_ = static_cast<int>(payload.dims[0]);
    kernel_height_ = static_cast<int64_t>(payload.dims[1]);
    kernel_width_ = static_cast<int64_t>(payload.dims[2]);
    in_channels_ = static_cast<int>(payload.dims[3]);
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
    *out = {x[0], ToInt(vertical.out, label_ + ": out height"),
            ToInt(horizontal.out, label_ + ": out width"), out_channels_};
    return {x[0],
            x[1],
            x[2],
            (*out)[1],
            (*out)[2],
            stride_height_,
            stride_width_,
            dilation_height_,
            dilation_width_,
            ToInt(vertical.pad_before, label_ + ": padding"),
            ToInt(horizontal.pad_before, label_ + ": padding")};
  }

 private:
  Padding padding_;
  int stride_height_, stride_width_, dilation_height_, dilation_width_;
  int64_t kernel_height_, kernel_width_;
  int in_channels_;
};

}  // namespace

std::unique_ptr<Op> MakeConv2D(abi::Context* context, const OpNode& node,
                               const Settings& settings,
                               std::shared_ptr<Workspace> workspace) {
  return std::make_unique<Conv2DOp>(context, node, settings,
                                    std::move(workspace));
}

std::unique_ptr<Op> MakeFullyConnected(abi::Context* context,
                                       const OpNode& node,
                                       const Settings& settings,
                                       std::shared_ptr<Workspace> workspace) {
  return std::make_unique<FullyConnectedOp>(context, node, settings,
                                            std::move(workspace));
}

}  // namespace tfc

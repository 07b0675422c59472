#include "delegate/conv_op.h"

#include <climits>
#include <utility>

#include "format/error.h"
#include "kernels/binary_conv2d/binary_conv2d.h"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

namespace tfc {
namespace {

Activation ActivationOf(const OpNode& node, uint8_t code) {
  if (code != 0 && code != 1 && code != 3) {
    throw Error(
        node.Label() + ": the activation must be 0 none, 1 ReLU or 3 ReLU6",
        "activation=" + std::to_string(code));
  }
  return static_cast<Activation>(code);
}

// What the kernels multiply by: nothing for uniform codes, which they know. A
// level that no weight has is 0, so that it costs no resolution.
std::vector<float> CodebookOf(const StoredWeight& weight,
                              const std::vector<uint8_t>& symbols) {
  if (weight.encoding() == Encoding::kUniform) return {};
  std::vector<float> codebook = weight.levels();
  std::vector<bool> occurs(codebook.size());
  for (const uint8_t symbol : symbols) occurs[symbol] = true;
  for (size_t s = 0; s < codebook.size(); ++s) {
    if (!occurs[s]) codebook[s] = 0.0f;
  }
  return codebook;
}

void CheckWeight(const StoredWeight& weight, const std::vector<uint64_t>& dims,
                 ConvKind kind, const std::string& label) {
  RequireFloatCodes(weight, label);
  if (kind == ConvKind::kSigns && weight.encoding() != Encoding::kBinary) {
    throw Error(label + ": the payload must hold signs",
                "encoding=" + std::to_string(int(weight.encoding())));
  }
  const int axis = kind == ConvKind::kDepthwise ? 3 : 0;
  if ((weight.channel_axis() != -1 && weight.channel_axis() != axis) ||
      weight.block() != 0) {
    throw Error(label + ": scales must lie along the output channels",
                "channel_axis=" + std::to_string(weight.channel_axis()) +
                    ", block=" + std::to_string(weight.block()),
                "Pack this weight for TfcDecode");
  }
  for (const uint64_t dim : dims) {
    if (dim > INT_MAX) {
      throw Error(label + ": weight dims must be below 2^31",
                  "shape=" + weight.ShapeText());
    }
  }
}

std::unique_ptr<Conv2D> CreateKernel(const WeightsView& view, ConvKind kind,
                                     int multiplier, const Settings& settings) {
  if (kind == ConvKind::kDepthwise) {
    return CreateDepthwiseConv2D(view, multiplier, settings.arithmetic,
                                 settings.use_ref);
  }
  // Signs are floats, too, so that the float reference needs no own kernel.
  if (kind == ConvKind::kSigns && settings.arithmetic == Arithmetic::kInt8) {
    return CreateBinaryConv2D(
        {view.out_channels, view.kernel_height, view.kernel_width,
         view.in_channels, view.symbols, view.scale, view.num_scales},
        settings.use_ref);
  }
  return Conv2D::Create(view, settings.arithmetic, settings.use_ref);
}

}  // namespace

ConvOp::ConvOp(abi::Context* context, const OpNode& node, size_t num_options,
               ConvKind kind, std::shared_ptr<Workspace> workspace)
    : label_(node.Label()), kind_(kind), workspace_(std::move(workspace)) {
  if (node.inputs.size() < 2 || node.inputs.size() > 3 ||
      node.outputs.size() != 1) {
    throw Error(label_ + " must have inputs x, payload, bias and one output",
                "inputs=" + std::to_string(node.inputs.size()) +
                    ", outputs=" + std::to_string(node.outputs.size()));
  }
  RequireOptions(node, num_options);
  activation_ = ActivationOf(node, node.options[1]);
  x_ = node.inputs[0];
  y_ = node.outputs[0];
  RequireType(context, x_, abi::kFloat32, label_ + ": x");
  RequireType(context, y_, abi::kFloat32, label_ + ": the output");
  RequireNoConstant(context, y_, label_ + ": the output");
  if (node.inputs.size() == 3) bias_ = node.inputs[2];
  if (HasBiasInput()) {
    RequireType(context, bias_, abi::kFloat32, label_ + ": the bias");
  }
}

void ConvOp::MakeKernel(const StoredWeight& weight,
                        const std::vector<uint64_t>& dims,
                        const Settings& settings, int multiplier) {
  CheckWeight(weight, dims, kind_, label_);
  if (HasBiasInput() && !weight.bias().empty()) {
    throw Error(label_ +
                ": the bias must be an input or inside the payload, not both");
  }
  inner_bias_ = weight.bias();
  const bool depthwise = kind_ == ConvKind::kDepthwise;
  out_channels_ = static_cast<int>(dims[depthwise ? 3 : 0]);
  try {
    const std::vector<uint8_t> symbols = weight.Symbols();
    const std::vector<float> codebook = CodebookOf(weight, symbols);
    std::vector<float> scales = weight.scales();
    if (scales.empty()) scales.push_back(1.0f);
    WeightsView view{};
    view.out_channels = out_channels_;
    view.kernel_height = static_cast<int>(dims[1]);
    view.kernel_width = static_cast<int>(dims[2]);
    view.in_channels = depthwise ? 1 : static_cast<int>(dims[3]);
    view.num_bits = weight.num_bits();
    view.symbols = symbols.data();
    view.scale = scales.data();
    view.num_scales = static_cast<int>(scales.size());
    view.codebook = codebook.empty() ? nullptr : codebook.data();
    view.codebook_size = static_cast<int>(codebook.size());
    view.on_maps = weight.dims().size() == 4;
    kernel_ = CreateKernel(view, kind_, multiplier, settings);
  } catch (const Error& error) {
    throw error.At(label_);
  }
}

void ConvOp::Prepare(abi::Context* context) {
  const std::vector<int> x = DimsOf(TensorAt(context, x_));
  std::vector<int> out_dims;
  in_bytes_ = ByteCount(x, sizeof(float));
  geometry_ = Plan(x, &out_dims);
  out_bytes_ = ByteCount(out_dims, sizeof(float));
  if (HasBiasInput()) {
    const std::vector<int> dims = DimsOf(TensorAt(context, bias_));
    if (ElementCount(dims) != out_channels_) {
      throw Error(label_ + ": the bias must have one value per out channel",
                  "shape=" + DimsText(dims) +
                      ", channels=" + std::to_string(out_channels_));
    }
  }
  ResizeTo(context, y_, out_dims);
  if (out_bytes_ > 0) workspace_->Reserve(kernel_->WorkspaceBytes(geometry_));
}

const float* ConvOp::Bias(abi::Context* context) const {
  if (!HasBiasInput()) {
    return inner_bias_.empty() ? nullptr : inner_bias_.data();
  }
  const abi::Tensor& bias = TensorAt(context, bias_);
  if (bias.data == nullptr ||
      bias.bytes < sizeof(float) * static_cast<size_t>(out_channels_)) {
    throw Error(label_ + ": the bias must have data",
                "bytes=" + std::to_string(bias.bytes));
  }
  return static_cast<const float*>(bias.data);
}

void ConvOp::Invoke(abi::Context* context) {
  if (out_bytes_ == 0) return;
  const abi::Tensor& x = TensorAt(context, x_);
  const abi::Tensor& y = TensorAt(context, y_);
  RequireBytes(x, in_bytes_, label_ + ": x");
  RequireBytes(y, out_bytes_, label_ + ": the output");
  kernel_->Run(geometry_, static_cast<const float*>(x.data), Bias(context),
               activation_, static_cast<float*>(y.data), workspace_->data());
}

void ConvOp::RequireShape(bool good, const std::string& rule,
                          const std::vector<int>& x) const {
  if (!good) throw Error(label_ + ": " + rule, "x=" + DimsText(x));
}

}  // namespace tfc

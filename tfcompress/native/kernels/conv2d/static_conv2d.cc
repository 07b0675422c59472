// The choice of a kernel for static int8 activations, and its specification in
// obvious loops.
#include "kernels/conv2d/static_conv2d.h"

#include <utility>

#include "kernels/conv2d/kernel.h"

namespace tfc {
namespace {

class RefStaticConv2D : public StaticConv2D {
 public:
  RefStaticConv2D(const WeightsView& weights, WholeLevels levels)
      : shape_(weights), levels_(std::move(levels)) {
    const size_t n = weights.out_channels * Depth(weights);
    symbols_.assign(weights.symbols, weights.symbols + n);
  }

  size_t WorkspaceBytes(const ConvGeometry&) const override {
    return shape_.out_channels * sizeof(int32_t);
  }

  void RunStatic(const ConvGeometry& g, const int8_t* x, const int32_t* bias,
                 const Requantization& to, int8_t* y,
                 void* workspace) const override {
    const int outs = shape_.out_channels;
    auto* sums = static_cast<int32_t*>(workspace);
    const std::vector<int32_t> no_offsets(outs);
    const size_t image =
        size_t{1} * g.in_height * g.in_width * shape_.in_channels;
    for (int n = 0; n < g.batch; ++n, x += image) {
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox, y += outs) {
          for (int o = 0; o < outs; ++o) {
            sums[o] = static_cast<int32_t>(
                static_cast<uint32_t>(bias != nullptr ? bias[o] : 0) +
                static_cast<uint32_t>(
                    Sum(g, x, oy, ox, o, to.input_zero_point)));
          }
          kRequantizeRef.row(sums, 1, no_offsets.data(), to, outs, y);
        }
      }
    }
  }

  size_t WeightBytes() const override { return symbols_.size(); }
  const char* KernelName() const override { return "static_conv2d_ref"; }

 private:
  int32_t Sum(const ConvGeometry& g, const int8_t* x, int oy, int ox, int o,
              int zero_point) const {
    uint32_t sum = 0;
    const uint8_t* symbol = &symbols_[o * Depth(shape_)];
    for (int ky = 0; ky < shape_.kernel_height; ++ky) {
      const int iy = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
      for (int kx = 0; kx < shape_.kernel_width; ++kx) {
        const int ix = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
        const bool inside =
            iy >= 0 && iy < g.in_height && ix >= 0 && ix < g.in_width;
        for (int i = 0; i < shape_.in_channels; ++i, ++symbol) {
          if (!inside) continue;
          const size_t pixel = size_t{1} * iy * g.in_width + ix;
          const int code =
              levels_.step * (levels_.level[*symbol] - levels_.zero);
          sum += static_cast<uint32_t>(
              code * (x[pixel * shape_.in_channels + i] - zero_point));
        }
      }
    }
    return static_cast<int32_t>(sum);
  }

  WeightsView shape_;  // its pointers are dead after the constructor
  WholeLevels levels_;
  std::vector<uint8_t> symbols_;
};

}  // namespace

std::unique_ptr<StaticConv2D> CreateStaticRef(const WeightsView& weights,
                                              const WholeLevels& levels) {
  return std::make_unique<RefStaticConv2D>(weights, levels);
}

std::unique_ptr<StaticConv2D> StaticConv2D::Create(const WeightsView& weights,
                                                   bool use_ref) {
  WholeLevels levels;
  if (!MakeWholeLevels(weights, &levels)) return nullptr;
  for (const Conv2DKernel* kernel : Conv2DKernels()) {
    if (!use_ref && kernel->requantize != nullptr && kernel->available() &&
        Accepts(kernel->packing, levels) && Suits(kernel->packing, weights)) {
      return CreateStaticPacked(*kernel, weights, levels);
    }
  }
  return CreateStaticRef(weights, levels);
}

}  // namespace tfc

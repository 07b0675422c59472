// A convolution in obvious float loops, for building the delegate without the
// kernels.
#include <algorithm>
#include <vector>

#include "kernels/conv2d/conv2d.h"

namespace tfc {
namespace {

class FloatConv2D : public Conv2D {
 public:
  explicit FloatConv2D(const WeightsView& w)
      : out_(w.out_channels),
        height_(w.kernel_height),
        width_(w.kernel_width),
        in_(w.in_channels),
        weights_(size_t(out_) * height_ * width_ * in_) {
    const size_t row = weights_.size() / out_;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const int symbol = w.symbols[i];
      const float level = w.codebook != nullptr
                              ? w.codebook[symbol]
                              : float(symbol - (1 << (w.num_bits - 1)));
      weights_[i] = w.scale[w.num_scales == 1 ? 0 : i / row] * level;
    }
  }

  size_t WorkspaceBytes(const ConvGeometry&) const override { return 0; }
  size_t WeightBytes() const override { return 4 * weights_.size(); }
  const char* KernelName() const override { return "conv2d_f32_test"; }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void*) const override {
    for (int b = 0; b < g.batch; ++b) {
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox) {
          for (int o = 0; o < out_; ++o) {
            double sum = bias != nullptr ? bias[o] : 0;
            for (int ky = 0; ky < height_; ++ky) {
              for (int kx = 0; kx < width_; ++kx) {
                const int iy =
                    oy * g.stride_height + ky * g.dilation_height - g.pad_top;
                const int ix =
                    ox * g.stride_width + kx * g.dilation_width - g.pad_left;
                if (iy < 0 || iy >= g.in_height) continue;
                if (ix < 0 || ix >= g.in_width) continue;
                const float* pixel =
                    x +
                    ((size_t(b) * g.in_height + iy) * g.in_width + ix) * in_;
                const float* tap =
                    &weights_[((size_t(o) * height_ + ky) * width_ + kx) * in_];
                for (int i = 0; i < in_; ++i) sum += pixel[i] * tap[i];
              }
            }
            if (activation != Activation::kNone && sum < 0) sum = 0;
            if (activation == Activation::kRelu6 && sum > 6) sum = 6;
            *y++ = float(sum);
          }
        }
      }
    }
  }

 private:
  int out_, height_, width_, in_;
  std::vector<float> weights_;
};

}  // namespace

std::unique_ptr<Conv2D> Conv2D::Create(const WeightsView& weights, Arithmetic,
                                       bool) {
  return std::make_unique<FloatConv2D>(weights);
}

}  // namespace tfc

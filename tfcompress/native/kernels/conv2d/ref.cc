// The specification of conv2d with int8 activations, in obvious loops. Every
// other kernel gives the same bits.
#include <cstring>
#include <utility>

#include "kernels/conv2d/kernel.h"

namespace tfc {
namespace {

class RefConv2D : public Conv2D {
 public:
  RefConv2D(const WeightsView& weights, Levels levels)
      : shape_(weights), levels_(std::move(levels)) {
    const size_t n = weights.out_channels * Depth(weights);
    symbols_.assign(weights.symbols, weights.symbols + n);
  }

  size_t WorkspaceBytes(const ConvGeometry& g) const override {
    return ImageSize(g);
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    int8_t* q = static_cast<int8_t*>(workspace);
    const size_t size = ImageSize(g);
    for (int n = 0; n < g.batch; ++n, x += size) {
      const auto image = ScaleOf(kQuantizeRef.abs_max_bits(x, size));
      if (image.inverse == 0.0f) {
        std::memset(q, 0, size);
      } else {
        kQuantizeRef.quantize(x, size, image.inverse, q);
      }
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox) {
          for (int o = 0; o < shape_.out_channels; ++o) {
            float v = static_cast<float>(Sum(g, q, oy, ox, o));
            v = v * (levels_.scale[o] * image.scale);
            v = v + (bias != nullptr ? bias[o] : 0.0f);
            if (activation != Activation::kNone && v < 0.0f) v = 0.0f;
            if (activation == Activation::kRelu6 && v > 6.0f) v = 6.0f;
            *y++ = v;
          }
        }
      }
    }
  }

  size_t WeightBytes() const override { return symbols_.size(); }
  const char* KernelName() const override { return "conv2d_ref"; }

 private:
  size_t ImageSize(const ConvGeometry& g) const {
    return size_t{1} * g.in_height * g.in_width * shape_.in_channels;
  }

  int32_t Sum(const ConvGeometry& g, const int8_t* q, int oy, int ox,
              int o) const {
    int32_t sum = 0;
    for (int ky = 0; ky < shape_.kernel_height; ++ky) {
      const int iy = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
      if (iy < 0 || iy >= g.in_height) continue;
      for (int kx = 0; kx < shape_.kernel_width; ++kx) {
        const int ix = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
        if (ix < 0 || ix >= g.in_width) continue;
        const size_t tap =
            (size_t{1} * o * shape_.kernel_height + ky) * shape_.kernel_width +
            kx;
        const uint8_t* symbol = &symbols_[tap * shape_.in_channels];
        const int8_t* pixel =
            q + (size_t{1} * iy * g.in_width + ix) * shape_.in_channels;
        for (int i = 0; i < shape_.in_channels; ++i) {
          sum += (levels_.level[symbol[i]] - levels_.zero) * pixel[i];
        }
      }
    }
    return sum;
  }

  WeightsView shape_;  // its pointers are dead after the constructor
  Levels levels_;
  std::vector<uint8_t> symbols_;
};

}  // namespace

std::unique_ptr<Conv2D> CreateRef(const WeightsView& weights,
                                  const Levels& levels) {
  return std::make_unique<RefConv2D>(weights, levels);
}

}  // namespace tfc

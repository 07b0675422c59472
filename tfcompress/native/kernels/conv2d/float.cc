// Conv2d in float arithmetic over decoded weights: the reference that
// TFC_ACT=float asks for, and the way out for weights whose sums could leave
// int32.
#include <algorithm>

#include "kernels/conv2d/kernel.h"

namespace tfc {
namespace {

class FloatConv2D : public Conv2D {
 public:
  explicit FloatConv2D(const WeightsView& weights)
      : shape_(weights), weights_(weights.out_channels * Depth(weights)) {
    const size_t depth = Depth(weights);
    const int outs = weights.out_channels;
    for (int o = 0; o < outs; ++o) {
      const float scale = weights.scale[weights.num_scales == 1 ? 0 : o];
      for (size_t k = 0; k < depth; ++k) {
        const int symbol = weights.symbols[o * depth + k];
        const float value =
            weights.codebook != nullptr
                ? weights.codebook[symbol]
                : static_cast<float>(symbol - (1 << (weights.num_bits - 1)));
        weights_[k * outs + o] = scale * value;
      }
    }
  }

  size_t WorkspaceBytes(const ConvGeometry&) const override {
    return 2 * sizeof(float) * shape_.out_channels;
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    const int outs = shape_.out_channels;
    const size_t image = size_t{1} * g.in_height * g.in_width;
    Sums sums{static_cast<float*>(workspace),
              static_cast<float*>(workspace) + outs, outs, 0};
    for (int n = 0; n < g.batch; ++n, x += image * shape_.in_channels) {
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox, y += outs) {
          std::fill_n(sums.part, 2 * outs, 0.0f);
          AddTaps(g, x, oy, ox, &sums);
          sums.Flush();
          for (int o = 0; o < outs; ++o) {
            float v = sums.total[o] + (bias != nullptr ? bias[o] : 0.0f);
            if (activation != Activation::kNone && v < 0.0f) v = 0.0f;
            if (activation == Activation::kRelu6 && v > 6.0f) v = 6.0f;
            y[o] = v;
          }
        }
      }
    }
  }

  size_t WeightBytes() const override {
    return weights_.size() * sizeof(float);
  }
  const char* KernelName() const override { return "conv2d_float_ref"; }

 private:
  // Sums of one output pixel, in parts of 64 products, so that rounding errors
  // grow with 64 + depth / 64 terms instead of with depth.
  struct Sums {
    float* part;
    float* total;
    int outs;
    int terms;

    void Add(float x, const float* weights) {
      for (int o = 0; o < outs; ++o) part[o] += x * weights[o];
      if (++terms == 64) Flush();
    }
    void Flush() {
      for (int o = 0; o < outs; ++o) {
        total[o] += part[o];
        part[o] = 0.0f;
      }
      terms = 0;
    }
  };

  void AddTaps(const ConvGeometry& g, const float* x, int oy, int ox,
               Sums* sums) const {
    const size_t ins = shape_.in_channels;
    const float* weights = weights_.data();
    for (int ky = 0; ky < shape_.kernel_height; ++ky) {
      const int iy = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
      for (int kx = 0; kx < shape_.kernel_width; ++kx) {
        const int ix = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
        const float* tap = weights;
        weights += ins * sums->outs;
        if (iy < 0 || iy >= g.in_height || ix < 0 || ix >= g.in_width) continue;
        const float* pixel = x + (size_t{1} * iy * g.in_width + ix) * ins;
        for (size_t i = 0; i < ins; ++i, tap += sums->outs) {
          sums->Add(pixel[i], tap);
        }
      }
    }
  }

  WeightsView shape_;           // its pointers are dead after the constructor
  std::vector<float> weights_;  // [kernel_height][kernel_width][in][out]
};

}  // namespace

std::unique_ptr<Conv2D> CreateFloat(const WeightsView& weights) {
  return std::make_unique<FloatConv2D>(weights);
}

}  // namespace tfc

// The specification of depthwise_conv2d, in obvious loops: with int8
// activations, whose bits every other kernel gives, and in float arithmetic.
#include <cstring>
#include <vector>

#include "kernels/depthwise_conv2d/kernel.h"
#include "kernels/quantize/quantize.h"

namespace tfc {
namespace {

float Activate(Activation activation, float v) {
  if (activation != Activation::kNone && v < 0.0f) return 0.0f;
  if (activation == Activation::kRelu6 && v > 6.0f) return 6.0f;
  return v;
}

// Calls `use(tap, input)` for the taps of output (oy, ox) that lie inside of
// the image; `input` is the number of the pixel.
template <class Use>
void ForEachTap(const WeightsView& shape, const ConvGeometry& g, int oy, int ox,
                Use use) {
  for (int ky = 0; ky < shape.kernel_height; ++ky) {
    const int iy = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
    if (iy < 0 || iy >= g.in_height) continue;
    for (int kx = 0; kx < shape.kernel_width; ++kx) {
      const int ix = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
      if (ix < 0 || ix >= g.in_width) continue;
      use(size_t{1} * ky * shape.kernel_width + kx,
          size_t{1} * iy * g.in_width + ix);
    }
  }
}

class RefDepthwise : public Conv2D {
 public:
  RefDepthwise(const WeightsView& weights, int multiplier, const Levels& levels)
      : shape_(weights),
        multiplier_(multiplier),
        ins_(weights.out_channels / multiplier),
        levels_(levels),
        symbols_(weights.symbols,
                 weights.symbols + weights.out_channels * Depth(weights)) {}

  size_t WorkspaceBytes(const ConvGeometry& g) const override {
    return size_t{1} * g.in_height * g.in_width * ins_;
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    auto* q = static_cast<int8_t*>(workspace);
    const size_t size = WorkspaceBytes(g);
    const int outs = shape_.out_channels;
    for (int n = 0; n < g.batch; ++n, x += size) {
      const auto image = ScaleOf(kQuantizeRef.abs_max_bits(x, size));
      if (image.inverse == 0.0f) {
        std::memset(q, 0, size);
      } else {
        kQuantizeRef.quantize(x, size, image.inverse, q);
      }
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox) {
          for (int o = 0; o < outs; ++o) {
            int32_t sum = 0;
            ForEachTap(shape_, g, oy, ox, [&](size_t tap, size_t pixel) {
              const int level = levels_.level[symbols_[tap * outs + o]];
              sum += (level - levels_.zero) * q[pixel * ins_ + o / multiplier_];
            });
            const float v =
                static_cast<float>(sum) * (levels_.scale[o] * image.scale);
            *y++ = Activate(activation, v + (bias != nullptr ? bias[o] : 0.0f));
          }
        }
      }
    }
  }

  size_t WeightBytes() const override { return symbols_.size(); }
  const char* KernelName() const override { return "depthwise_conv2d_ref"; }

 private:
  WeightsView shape_;  // its pointers are dead after the constructor
  int multiplier_;
  size_t ins_;
  Levels levels_;
  std::vector<uint8_t> symbols_;
};

class RefStaticDepthwise : public StaticConv2D {
 public:
  RefStaticDepthwise(const WeightsView& weights, int multiplier,
                     const WholeLevels& levels)
      : shape_(weights),
        multiplier_(multiplier),
        ins_(weights.out_channels / multiplier),
        levels_(levels),
        symbols_(weights.symbols,
                 weights.symbols + weights.out_channels * Depth(weights)) {}

  size_t WorkspaceBytes(const ConvGeometry&) const override {
    return shape_.out_channels * sizeof(int32_t);
  }

  void RunStatic(const ConvGeometry& g, const int8_t* x, const int32_t* bias,
                 const Requantization& to, int8_t* y,
                 void* workspace) const override {
    auto* sums = static_cast<int32_t*>(workspace);
    const int outs = shape_.out_channels;
    const std::vector<int32_t> no_offsets(outs);
    const size_t image = size_t{1} * g.in_height * g.in_width * ins_;
    for (int n = 0; n < g.batch; ++n, x += image) {
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox, y += outs) {
          for (int o = 0; o < outs; ++o) {
            auto sum = static_cast<uint32_t>(bias != nullptr ? bias[o] : 0);
            ForEachTap(shape_, g, oy, ox, [&](size_t tap, size_t pixel) {
              const int level = levels_.level[symbols_[tap * outs + o]];
              const int code = levels_.step * (level - levels_.zero);
              const int in = x[pixel * ins_ + o / multiplier_];
              sum += static_cast<uint32_t>(code * (in - to.input_zero_point));
            });
            sums[o] = static_cast<int32_t>(sum);
          }
          kRequantizeRef.row(sums, 1, no_offsets.data(), to, outs, y);
        }
      }
    }
  }

  size_t WeightBytes() const override { return symbols_.size(); }
  const char* KernelName() const override {
    return "static_depthwise_conv2d_ref";
  }

 private:
  WeightsView shape_;  // its pointers are dead after the constructor
  int multiplier_;
  size_t ins_;
  WholeLevels levels_;
  std::vector<uint8_t> symbols_;
};

class FloatDepthwise : public Conv2D {
 public:
  FloatDepthwise(const WeightsView& weights, int multiplier)
      : shape_(weights),
        multiplier_(multiplier),
        ins_(weights.out_channels / multiplier),
        weights_(weights.out_channels * Depth(weights)) {
    for (size_t i = 0; i < weights_.size(); ++i) {
      const int symbol = weights.symbols[i];
      const size_t channel = i % weights.out_channels;
      const float value =
          weights.codebook != nullptr
              ? weights.codebook[symbol]
              : static_cast<float>(symbol - (1 << (weights.num_bits - 1)));
      weights_[i] =
          weights.scale[weights.num_scales == 1 ? 0 : channel] * value;
    }
  }

  size_t WorkspaceBytes(const ConvGeometry&) const override { return 0; }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void*) const override {
    const size_t image = size_t{1} * g.in_height * g.in_width * ins_;
    const int outs = shape_.out_channels;
    for (int n = 0; n < g.batch; ++n, x += image) {
      for (int oy = 0; oy < g.out_height; ++oy) {
        for (int ox = 0; ox < g.out_width; ++ox) {
          for (int o = 0; o < outs; ++o) {
            float sum = bias != nullptr ? bias[o] : 0.0f;
            ForEachTap(shape_, g, oy, ox, [&](size_t tap, size_t pixel) {
              sum +=
                  weights_[tap * outs + o] * x[pixel * ins_ + o / multiplier_];
            });
            *y++ = Activate(activation, sum);
          }
        }
      }
    }
  }

  size_t WeightBytes() const override {
    return weights_.size() * sizeof(float);
  }
  const char* KernelName() const override {
    return "depthwise_conv2d_float_ref";
  }

 private:
  WeightsView shape_;  // its pointers are dead after the constructor
  int multiplier_;
  size_t ins_;
  std::vector<float> weights_;
};

}  // namespace

std::unique_ptr<Conv2D> CreateDepthwiseRef(const WeightsView& weights,
                                           int multiplier,
                                           const Levels& levels) {
  return std::make_unique<RefDepthwise>(weights, multiplier, levels);
}

std::unique_ptr<StaticConv2D> CreateStaticDepthwiseRef(
    const WeightsView& weights, int multiplier, const WholeLevels& levels) {
  return std::make_unique<RefStaticDepthwise>(weights, multiplier, levels);
}

std::unique_ptr<Conv2D> CreateDepthwiseFloat(const WeightsView& weights,
                                             int multiplier) {
  return std::make_unique<FloatDepthwise>(weights, multiplier);
}

}  // namespace tfc

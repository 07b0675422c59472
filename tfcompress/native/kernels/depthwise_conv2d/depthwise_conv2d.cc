// The choice of a kernel, the packing of weights, and the walk over rows: those
// that the next row of outputs reads are kept as int16 codes with their border
// of zeros, each quantized once.
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "kernels/depthwise_conv2d/kernel.h"

namespace tfc {

#define TFC_DEPTHWISE_KERNEL(kernel) extern const DepthwiseKernel kernel;
#include "kernels/depthwise_conv2d/kernels.inc"
#undef TFC_DEPTHWISE_KERNEL

namespace {

constexpr size_t kAlignment = 64;

size_t RoundUp(size_t n, size_t step) { return (n + step - 1) / step * step; }

class PackedDepthwise : public Conv2D {
 public:
  PackedDepthwise(const DepthwiseKernel& kernel, const WeightsView& weights,
                  int multiplier, const Levels& levels)
      : kernel_(kernel),
        shape_(weights),
        multiplier_(multiplier),
        ins_(weights.out_channels / multiplier),
        lanes_(RoundUp(weights.out_channels, kDepthwiseLanes)),
        taps_(static_cast<int>(Depth(weights))),
        pairs_((taps_ + 1) / 2),
        scales_(levels.scale),
        weights_(lanes_ * pairs_ * 2) {
    for (int t = 0; t < taps_; ++t) {
      for (int o = 0; o < weights.out_channels; ++o) {
        const uint8_t symbol =
            weights.symbols[size_t{1} * t * weights.out_channels + o];
        const size_t block = o / kDepthwiseLanes;
        const size_t lane = o % kDepthwiseLanes;
        const bool paired = kernel.packing == DepthwisePacking::kPairs;
        const size_t at =
            paired ? ((block * pairs_ + t / 2) * kDepthwiseLanes + lane) * 2 +
                         t % 2
                   : (block * pairs_ * 2 + t) * kDepthwiseLanes + lane;
        weights_[at] = static_cast<int16_t>(levels.level[symbol] - levels.zero);
      }
    }
  }

  size_t WorkspaceBytes(const ConvGeometry& g) const override {
    return MakeLayout(g).size;
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    const Layout l = MakeLayout(g);
    auto* rows = static_cast<int16_t*>(workspace);
    const size_t image = size_t{1} * g.in_height * g.in_width * ins_;
    DepthwiseRow row = MakeRow(g, l, rows);
    row.bias = bias;
    row.activation = activation;
    row.y = y;
    for (int n = 0; n < g.batch; ++n, x += image) {
      const ImageScale scale =
          ScaleOf(kernel_.quantize->abs_max_bits(x, image));
      row.image_scale = scale.scale;
      const auto quantize = [&](size_t pixel, size_t pixels, int16_t* q) {
        if (scale.inverse == 0.0f) return;
        kernel_.quantize_words(x + pixel * ins_, pixels * ins_, scale.inverse,
                               q);
      };
      ForEachRow(g, l, rows, quantize, [&] {
        kernel_.row(row);
        row.y += size_t{1} * g.out_width * shape_.out_channels;
      });
    }
  }

  size_t WeightBytes() const override {
    return weights_.size() * sizeof(int16_t);
  }
  const char* KernelName() const override { return kernel_.name; }

 protected:
  // Where rows of codes lie in the workspace, in int16.
  struct Layout {
    int reach;      // rows of the image that one row of outputs reads across
    size_t row;     // length of one
    size_t origin;  // of its first pixel, behind the border
    size_t rows;    // their number: `reach` of the image and one of zeros
    size_t taps;    // offset of the table of taps
    size_t size;    // bytes of all
  };

  Layout MakeLayout(const ConvGeometry& g) const {
    Layout l;
    l.reach = (shape_.kernel_height - 1) * g.dilation_height + 1;
    const size_t width =
        std::max<size_t>(g.pad_left + g.in_width,
                         size_t{1} * (g.out_width - 1) * g.stride_width +
                             (shape_.kernel_width - 1) * g.dilation_width + 1);
    l.row = width * lanes_;
    l.origin = g.pad_left * lanes_;
    l.rows = l.reach + size_t{1};
    l.taps = RoundUp(l.rows * l.row, kAlignment / sizeof(int16_t));
    l.size =
        RoundUp(l.taps * sizeof(int16_t) + 2 * pairs_ * sizeof(const int16_t*),
                kAlignment);
    return l;
  }

  // One row of outputs, but for what comes after the sums.
  DepthwiseRow MakeRow(const ConvGeometry& g, const Layout& l,
                       int16_t* rows) const {
    DepthwiseRow row{};
    row.taps = reinterpret_cast<const int16_t**>(rows + l.taps);
    row.pairs = pairs_;
    row.step = g.stride_width * lanes_;
    row.outputs = g.out_width;
    row.weights = weights_.data();
    row.scales = scales_.data();
    row.channels = shape_.out_channels;
    return row;
  }

  // Calls `use()` for each row of outputs of an image, whose taps are then set.
  // Before, `quantize(pixel, pixels, codes)` for what it reads first.
  template <class Quantize, class Use>
  void ForEachRow(const ConvGeometry& g, const Layout& l, int16_t* rows,
                  Quantize quantize, Use use) const {
    auto* taps = reinterpret_cast<const int16_t**>(rows + l.taps);
    std::memset(rows, 0, l.rows * l.row * sizeof(int16_t));
    int ready = 0;  // rows of the image before this one have their codes
    for (int oy = 0; oy < g.out_height; ++oy) {
      const int top = oy * g.stride_height - g.pad_top;
      const int end = std::min(top + l.reach, g.in_height);
      for (ready = std::max(ready, top); ready < end; ++ready) {
        QuantizeRow(g, size_t{1} * ready * g.in_width, quantize,
                    rows + Slot(l, ready) + l.origin);
      }
      SetTaps(g, l, top, rows, taps);
      use();
    }
  }

  const DepthwiseKernel& kernel() const { return kernel_; }
  const WeightsView& shape() const { return shape_; }
  size_t in_channels() const { return ins_; }

 private:
  static size_t Slot(const Layout& l, int iy) {
    return static_cast<size_t>(iy % l.reach) * l.row;
  }

  template <class Quantize>
  void QuantizeRow(const ConvGeometry& g, size_t pixel, Quantize quantize,
                   int16_t* q) const {
    if (multiplier_ == 1 && ins_ == lanes_) {
      quantize(pixel, static_cast<size_t>(g.in_width), q);
      return;
    }
    for (int i = 0; i < g.in_width; ++i, q += lanes_) {
      quantize(pixel + i, size_t{1}, q);
      // From the last one, so that no code is overwritten before it is read.
      for (int o = multiplier_ == 1 ? 0 : shape_.out_channels; o-- > 0;) {
        q[o] = q[o / multiplier_];
      }
    }
  }

  void SetTaps(const ConvGeometry& g, const Layout& l, int top,
               const int16_t* rows, const int16_t** taps) const {
    for (int ky = 0; ky < shape_.kernel_height; ++ky) {
      const int iy = top + ky * g.dilation_height;
      const bool inside = iy >= 0 && iy < g.in_height;
      const int16_t* row = rows + (inside ? Slot(l, iy) : l.reach * l.row);
      for (int kx = 0; kx < shape_.kernel_width; ++kx) {
        *taps++ = row + kx * g.dilation_width * lanes_;
      }
    }
    if (taps_ % 2 != 0) *taps = taps[-1];
  }

  const DepthwiseKernel& kernel_;
  WeightsView shape_;  // its pointers are dead after the constructor
  int multiplier_;
  size_t ins_;
  size_t lanes_;  // out channels, padded
  int taps_;
  int pairs_;
  std::vector<float> scales_;
  std::vector<int16_t> weights_;
};

// The same with int8 images, less their zero point, and with requantized sums.
class StaticPackedDepthwise : private PackedDepthwise, public StaticConv2D {
 public:
  StaticPackedDepthwise(const DepthwiseKernel& kernel,
                        const WeightsView& weights, int multiplier,
                        const WholeLevels& levels)
      : PackedDepthwise(kernel, weights, multiplier, levels),
        step_(levels.step),
        no_bias_(weights.out_channels) {}

  size_t WorkspaceBytes(const ConvGeometry& g) const override {
    return MakeLayout(g).size +
           size_t{1} * g.out_width * shape().out_channels * sizeof(int32_t);
  }

  void RunStatic(const ConvGeometry& g, const int8_t* x, const int32_t* bias,
                 const Requantization& to, int8_t* y,
                 void* workspace) const override {
    const Layout l = MakeLayout(g);
    auto* rows = static_cast<int16_t*>(workspace);
    void* sums = static_cast<char*>(workspace) + l.size;
    const int outs = shape().out_channels;
    DepthwiseRow row = MakeRow(g, l, rows);
    row.activation = Activation::kNone;
    row.y = static_cast<float*>(sums);
    row.sums_only = true;
    const size_t image = size_t{1} * g.in_height * g.in_width * in_channels();
    for (int n = 0; n < g.batch; ++n, x += image) {
      const auto widen = [&](size_t pixel, size_t pixels, int16_t* q) {
        const int8_t* from = x + pixel * in_channels();
        for (size_t i = 0; i < pixels * in_channels(); ++i) {
          q[i] = static_cast<int16_t>(from[i] - to.input_zero_point);
        }
      };
      ForEachRow(g, l, rows, widen, [&] {
        kernel().row(row);
        const auto* sum = static_cast<const int32_t*>(sums);
        for (int p = 0; p < g.out_width; ++p, sum += outs, y += outs) {
          kernel().requantize->row(sum, step_,
                                   bias != nullptr ? bias : no_bias_.data(), to,
                                   outs, y);
        }
      });
    }
  }

  size_t WeightBytes() const override { return PackedDepthwise::WeightBytes(); }
  const char* KernelName() const override {
    return PackedDepthwise::KernelName();
  }

 private:
  int step_;
  std::vector<int32_t> no_bias_;
};

}  // namespace

const std::vector<const DepthwiseKernel*>& DepthwiseKernels() {
  static const std::vector<const DepthwiseKernel*> kernels = {
#define TFC_DEPTHWISE_KERNEL(kernel) &kernel,
#include "kernels/depthwise_conv2d/kernels.inc"
#undef TFC_DEPTHWISE_KERNEL
  };
  return kernels;
}

bool Accepts(const DepthwiseKernel& kernel, const WeightsView& weights,
             const Levels& levels, int largest_code) {
  if (kernel.packing == DepthwisePacking::kPairs) return true;
  int64_t largest = 0;
  for (const uint16_t level : levels.level) {
    largest = std::max<int64_t>(largest, std::abs(level - levels.zero));
  }
  return Depth(weights) * largest * largest_code <=
         std::numeric_limits<int16_t>::max();
}

std::unique_ptr<Conv2D> CreatePackedDepthwise(const DepthwiseKernel& kernel,
                                              const WeightsView& weights,
                                              int multiplier,
                                              const Levels& levels) {
  return std::make_unique<PackedDepthwise>(kernel, weights, multiplier, levels);
}

std::unique_ptr<Conv2D> CreateDepthwiseConv2D(const WeightsView& weights,
                                              int multiplier,
                                              Arithmetic arithmetic,
                                              bool use_ref) {
  Levels levels;
  if (arithmetic == Arithmetic::kFloat || !MakeLevels(weights, &levels)) {
    return CreateDepthwiseFloat(weights, multiplier);
  }
  if (!use_ref) {
    for (const DepthwiseKernel* kernel : DepthwiseKernels()) {
      if (kernel->available() &&
          Accepts(*kernel, weights, levels, kLargestCode)) {
        return CreatePackedDepthwise(*kernel, weights, multiplier, levels);
      }
    }
  }
  return CreateDepthwiseRef(weights, multiplier, levels);
}

std::unique_ptr<StaticConv2D> CreateStaticPackedDepthwise(
    const DepthwiseKernel& kernel, const WeightsView& weights, int multiplier,
    const WholeLevels& levels) {
  return std::make_unique<StaticPackedDepthwise>(kernel, weights, multiplier,
                                                 levels);
}

std::unique_ptr<StaticConv2D> CreateStaticDepthwiseConv2D(
    const WeightsView& weights, int multiplier, bool use_ref) {
  WholeLevels levels;
  if (!MakeWholeLevels(weights, &levels)) return nullptr;
  for (const DepthwiseKernel* kernel : DepthwiseKernels()) {
    if (!use_ref && kernel->requantize != nullptr && kernel->available() &&
        Accepts(*kernel, weights, levels, kLargestStaticCode)) {
      return CreateStaticPackedDepthwise(*kernel, weights, multiplier, levels);
    }
  }
  return CreateStaticDepthwiseRef(weights, multiplier, levels);
}

}  // namespace tfc

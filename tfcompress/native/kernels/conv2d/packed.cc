// Conv2d as products of gathered rows with packed weights. Images are quantized
// into the workspace, with their border of zeros; then, some output pixels at a
// time, the receptive fields are gathered into rows that stay in cache while
// all blocks of weights pass over them. A 1x1 convolution of stride 1 (and so a
// fully-connected layer) reads the quantized pixels as they are.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/conv2d/kernel.h"

namespace tfc {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSlack = 48;            // copies may go this far past an end
constexpr size_t kRowBytes = 96 * 1024;  // of gathered rows: L2 holds them
constexpr int kMaxRows = 192;

size_t Align(size_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

size_t RoundUp(size_t n, size_t step) { return (n + step - 1) / step * step; }

// Copies in steps of 16: reads and writes up to 15 bytes past the end.
inline void CopyBytes(const int8_t* from, size_t n, int8_t* to) {
  for (size_t i = 0; i < n; i += 16) std::memcpy(to + i, from + i, 16);
}

// How one geometry is cut into pieces, and where they lie in the workspace.
struct Layout {
  bool direct;           // rows are the quantized pixels themselves
  size_t image_rows;     // runs of floats that are contiguous in x...
  size_t image_columns;  // ...their length...
  size_t row_stride;     // ...and their distance once quantized
  size_t origin;         // of the first one, inside of the border
  size_t image_bytes;
  int out_pixels;   // of one image
  int images;       // quantized at a time
  int rows;         // gathered and multiplied at a time
  size_t gathered;  // offsets
  size_t shifts;
  size_t row_scales;
  size_t image_scales;
  size_t scratch;
  size_t size;
};

// The runs of bytes that make up one row of a receptive field.
struct Segments {
  int per_row;
  size_t length;
  size_t distance;
};

class PackedConv2D : public Conv2D {
 public:
  PackedConv2D(const Conv2DKernel& kernel, const WeightsView& weights,
               const Levels& levels)
      : kernel_(kernel),
        shape_(weights),
        zero_(Zero(kernel.packing, levels)),
        bit_step_(levels.level.back() - levels.level[0]),
        depth_(Depth(weights)),
        padded_depth_(RoundUp(Depth(weights), kDepthStep)),
        scales_(levels.scale),
        weights_(Pack(kernel, weights, levels)),
        tables_(PaletteTables(levels)) {}

  size_t WorkspaceBytes(const ConvGeometry& g) const override {
    return MakeLayout(g).size;
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    const Layout layout = MakeLayout(g);
    int8_t* base = static_cast<int8_t*>(workspace);
    const size_t image =
        size_t{1} * g.in_height * g.in_width * shape_.in_channels;
    auto* scales = reinterpret_cast<float*>(base + layout.image_scales);
    for (int n = 0; n < g.batch; n += layout.images) {
      const int images = std::min(layout.images, g.batch - n);
      for (int i = 0; i < images; ++i) {
        scales[i] = QuantizeImage(layout, x + (n + i) * image, image,
                                  base + i * layout.image_bytes);
      }
      const int total = images * layout.out_pixels;
      for (int first = 0; first < total; first += layout.rows) {
        const int rows = std::min(layout.rows, total - first);
        Product product = Rows(g, layout, first, rows, base);
        product.bias = bias;
        product.activation = activation;
        product.y = y + size_t{1} * first * shape_.out_channels;
        kernel_.multiply(product);
      }
      y += size_t{1} * total * shape_.out_channels;
    }
  }

  size_t WeightBytes() const override {
    return weights_.size() * sizeof(CacheLine);
  }
  const char* KernelName() const override { return kernel_.name; }

 protected:
  const Conv2DKernel& kernel() const { return kernel_; }
  int out_channels() const { return shape_.out_channels; }

  Layout MakeLayout(const ConvGeometry& g) const {
    Layout l;
    const size_t ins = shape_.in_channels;
    l.direct = depth_ == ins && g.stride_height == 1 && g.stride_width == 1 &&
               g.pad_top == 0 && g.pad_left == 0 &&
               g.out_height == g.in_height && g.out_width == g.in_width;
    if (l.direct) {
      l.image_rows = size_t{1} * g.in_height * g.in_width;
      l.image_columns = ins;
      l.row_stride = padded_depth_;
      l.origin = 0;
      l.image_bytes = l.image_rows * l.row_stride;
    } else {
      const size_t height =
          PaddedSize(g.pad_top, g.in_height, g.out_height, g.stride_height,
                     shape_.kernel_height, g.dilation_height);
      const size_t width =
          PaddedSize(g.pad_left, g.in_width, g.out_width, g.stride_width,
                     shape_.kernel_width, g.dilation_width);
      l.image_rows = g.in_height;
      l.image_columns = g.in_width * ins;
      l.row_stride = width * ins;
      l.origin = g.pad_top * l.row_stride + g.pad_left * ins;
      l.image_bytes = height * l.row_stride;
    }
    if (l.row_stride == l.image_columns) {
      l.image_columns *= l.image_rows;
      l.image_rows = 1;
    }
    l.out_pixels = g.out_height * g.out_width;
    // Where rows have a copy in the scratch, the weights do something once for
    // all rows: more of them.
    const size_t bytes = kernel_.row_scratch == 0 ? kRowBytes : 2 * kRowBytes;
    const int fitting =
        static_cast<int>(std::min<size_t>(kMaxRows, bytes / padded_depth_));
    l.rows = std::max(fitting / kernel_.rows, 2) * kernel_.rows;
    l.images =
        std::min(g.batch, std::max(1, l.rows / std::max(l.out_pixels, 1)));
    l.rows = std::min(l.rows, l.images * l.out_pixels);
    l.gathered = Align(l.images * l.image_bytes + kSlack);
    const size_t gathered = l.direct ? 0 : l.rows * padded_depth_ + kSlack;
    l.shifts = Align(l.gathered + gathered);
    l.row_scales = Align(l.shifts + l.rows * sizeof(int32_t));
    l.image_scales = Align(l.row_scales + l.rows * sizeof(float));
    l.scratch = Align(l.image_scales + l.images * sizeof(float));
    const size_t scratch = kernel_.scratch + kernel_.row_scratch * l.rows;
    l.size = Align(l.scratch + scratch * padded_depth_);
    return l;
  }

  // The product of output pixels [first, first + rows) of the images in `base`,
  // without bias, activation and y.
  Product Rows(const ConvGeometry& g, const Layout& l, int first, int rows,
               int8_t* base) const {
    Product p;
    if (l.direct) {
      p.a = base + first * padded_depth_;
    } else {
      GatherRows(g, l, first, rows, base, base + l.gathered);
      p.a = base + l.gathered;
    }
    p.a_stride = padded_depth_;
    p.rows = rows;
    p.depth = static_cast<int>(padded_depth_);
    auto* shifts = reinterpret_cast<int32_t*>(base + l.shifts);
    auto* row_scales = reinterpret_cast<float*>(base + l.row_scales);
    const auto* scales = reinterpret_cast<const float*>(base + l.image_scales);
    kernel_.quantize->row_sums(p.a, p.a_stride, rows, padded_depth_, zero_,
                               shifts);
    for (int r = 0; r < rows;) {
      const int image = (first + r) / l.out_pixels;
      const int end = std::min(rows, (image + 1) * l.out_pixels - first);
      std::fill(row_scales + r, row_scales + end, scales[image]);
      r = end;
    }
    p.shifts = shifts;
    p.row_scales = row_scales;
    p.weights = reinterpret_cast<const uint8_t*>(weights_.data());
    p.tables = tables_.data();
    p.bit_step = bit_step_;
    p.scratch = base + l.scratch;
    p.scales = scales_.data();
    p.out_channels = shape_.out_channels;
    return p;
  }

 private:
  // Pixels along one axis of the image with its border, so that every tap of
  // every output reads inside of it.
  static size_t PaddedSize(int pad, int in, int out, int stride, int kernel,
                           int dilation) {
    return std::max<size_t>(
        pad + in, size_t{1} * (out - 1) * stride + (kernel - 1) * dilation + 1);
  }

  float QuantizeImage(const Layout& l, const float* x, size_t size,
                      int8_t* q) const {
    const auto& quantize = *kernel_.quantize;
    const ImageScale scale = ScaleOf(quantize.abs_max_bits(x, size));
    const bool covered = l.image_rows * l.image_columns == l.image_bytes;
    if (scale.inverse == 0.0f || !covered) std::memset(q, 0, l.image_bytes);
    if (scale.inverse != 0.0f) {
      q += l.origin;
      for (size_t row = 0; row < l.image_rows; ++row) {
        quantize.quantize(x, l.image_columns, scale.inverse, q);
        x += l.image_columns;
        q += l.row_stride;
      }
    }
    return scale.scale;
  }

  // Calls Gather with the number of bytes that CopyBytes moves for one segment
  // known to the compiler, where segments are short.
  void GatherRows(const ConvGeometry& g, const Layout& l, int first, int rows,
                  const int8_t* base, int8_t* to) const {
    const size_t ins = shape_.in_channels;
    Segments s;
    const bool whole_rows = g.dilation_width == 1;
    s.per_row = whole_rows ? 1 : shape_.kernel_width;
    s.length = whole_rows ? shape_.kernel_width * ins : ins;
    s.distance = g.dilation_width * ins;
    if (s.length <= 16) {
      Gather<16>(g, l, s, first, rows, base, to);
    } else if (s.length <= 48) {
      Gather<48>(g, l, s, first, rows, base, to);
    } else {
      Gather<0>(g, l, s, first, rows, base, to);
    }
  }

  template <size_t kCopied>
  void Gather(const ConvGeometry& g, const Layout& l, const Segments& s,
              int first, int rows, const int8_t* base, int8_t* to) const {
    // Locals, because a store through int8_t* could change any member.
    const size_t column_step = size_t{1} * g.stride_width * shape_.in_channels;
    const size_t row_step = size_t{1} * g.dilation_height * l.row_stride;
    const size_t depth = padded_depth_, length = s.length;
    const size_t distance = s.distance;
    const int kernel_height = shape_.kernel_height, per_row = s.per_row;
    int image = first / l.out_pixels;
    int oy = first % l.out_pixels / g.out_width;
    int ox = first % g.out_width;
    for (int r = 0; r < rows;) {
      const int8_t* pixel = FirstTap(g, l, base, image, oy) + ox * column_step;
      const int end = std::min(rows, r + g.out_width - ox);
      for (; r < end; ++r, pixel += column_step, to += depth) {
        const int8_t* from = pixel;
        int8_t* next = to;
        for (int ky = 0; ky < kernel_height; ++ky, from += row_step) {
          const int8_t* segment = from;
          for (int t = 0; t < per_row; ++t) {
            CopyBytes(segment, kCopied != 0 ? kCopied : length, next);
            segment += distance;
            next += length;
          }
        }
        std::memset(next, 0, kDepthStep);
      }
      ox = 0;
      if (++oy == g.out_height) oy = 0, ++image;
    }
  }

  // The first tap of the first output of row `oy`.
  static const int8_t* FirstTap(const ConvGeometry& g, const Layout& l,
                                const int8_t* base, int image, int oy) {
    return base + image * l.image_bytes +
           size_t{1} * oy * g.stride_height * l.row_stride;
  }

  const Conv2DKernel& kernel_;
  WeightsView shape_;  // its pointers are dead after the constructor
  int zero_;
  int bit_step_;  // Product::bit_step
  size_t depth_;
  size_t padded_depth_;
  std::vector<float> scales_;
  std::vector<CacheLine> weights_;
  std::vector<uint8_t> tables_;
};

// The same with int8 images, whose border is the input's zero point, and with
// requantized sums.
class StaticPackedConv2D : private PackedConv2D, public StaticConv2D {
 public:
  StaticPackedConv2D(const Conv2DKernel& kernel, const WeightsView& weights,
                     const WholeLevels& levels)
      : PackedConv2D(kernel, weights, levels),
        requantize_(*kernel.requantize),
        step_(levels.step),
        weight_sums_(weights.out_channels) {
    const int64_t depth = Depth(weights);
    const uint8_t* symbol = weights.symbols;
    for (int32_t& sum : weight_sums_) {
      for (int64_t k = 0; k < depth; ++k) {
        sum += levels.step * (levels.level[*symbol++] - levels.zero);
      }
    }
  }

  size_t WorkspaceBytes(const ConvGeometry& g) const override {
    return MakeStaticLayout(g).size;
  }

  void RunStatic(const ConvGeometry& g, const int8_t* x, const int32_t* bias,
                 const Requantization& to, int8_t* y,
                 void* workspace) const override {
    const StaticLayout l = MakeStaticLayout(g);
    int8_t* base = static_cast<int8_t*>(workspace);
    auto* offsets = reinterpret_cast<int32_t*>(base + l.offsets);
    auto* sums = reinterpret_cast<float*>(base + l.sums);
    std::fill_n(reinterpret_cast<float*>(base + l.all.image_scales),
                l.all.images, 1.0f);
    const int outs = out_channels();
    for (int o = 0; o < outs; ++o) {
      // Unsigned, because TFLite's sums wrap around.
      offsets[o] = static_cast<int32_t>(
          static_cast<uint32_t>(bias != nullptr ? bias[o] : 0) -
          static_cast<uint32_t>(to.input_zero_point) *
              static_cast<uint32_t>(weight_sums_[o]));
    }
    for (int n = 0; n < g.batch; n += l.all.images) {
      const int images = std::min(l.all.images, g.batch - n);
      for (int i = 0; i < images; ++i) {
        x = CopyImage(l.all, x, to.input_zero_point,
                      base + i * l.all.image_bytes);
      }
      const int total = images * l.all.out_pixels;
      for (int first = 0; first < total; first += l.all.rows) {
        Product product =
            Rows(g, l.all, first, std::min(l.all.rows, total - first), base);
        product.bias = nullptr;
        product.activation = Activation::kNone;
        product.y = sums;
        product.sums_only = true;
        kernel().multiply(product);
        for (int r = 0; r < product.rows; ++r, y += outs) {
          requantize_.row(
              reinterpret_cast<const int32_t*>(sums) + size_t{1} * r * outs,
              step_, offsets, to, outs, y);
        }
      }
    }
  }

  size_t WeightBytes() const override { return PackedConv2D::WeightBytes(); }
  const char* KernelName() const override { return PackedConv2D::KernelName(); }

 private:
  struct StaticLayout {
    Layout all;
    size_t sums, offsets, size;
  };

  StaticLayout MakeStaticLayout(const ConvGeometry& g) const {
    StaticLayout l;
    l.all = MakeLayout(g);
    l.sums = Align(l.all.size);
    l.offsets = Align(l.sums + size_t{1} * l.all.rows * out_channels() *
                                   sizeof(int32_t));
    l.size = Align(l.offsets + out_channels() * sizeof(int32_t));
    return l;
  }

  // Returns the end of the image that it copied. What pads a pixel's depth is
  // 0, what pads the image is the zero point.
  const int8_t* CopyImage(const Layout& l, const int8_t* x, int zero_point,
                          int8_t* to) const {
    if (l.image_rows * l.image_columns != l.image_bytes) {
      std::memset(to, l.direct ? 0 : zero_point, l.image_bytes);
    }
    to += l.origin;
    for (size_t row = 0; row < l.image_rows; ++row) {
      std::memcpy(to, x, l.image_columns);
      x += l.image_columns;
      to += l.row_stride;
    }
    return x;
  }

  const RequantizeKernel& requantize_;
  int step_;
  std::vector<int32_t> weight_sums_;  // of the codes
};

}  // namespace

std::unique_ptr<Conv2D> CreatePacked(const Conv2DKernel& kernel,
                                     const WeightsView& weights,
                                     const Levels& levels) {
  return std::make_unique<PackedConv2D>(kernel, weights, levels);
}

std::unique_ptr<StaticConv2D> CreateStaticPacked(const Conv2DKernel& kernel,
                                                 const WeightsView& weights,
                                                 const WholeLevels& levels) {
  return std::make_unique<StaticPackedConv2D>(kernel, weights, levels);
}

}  // namespace tfc

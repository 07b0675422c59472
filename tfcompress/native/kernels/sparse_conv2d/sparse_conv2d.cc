// The choice of a kernel, the packing of nonzero weights, and the walk over
// tiles of pixels, each of which is quantized tap by tap.
#include "kernels/sparse_conv2d/sparse_conv2d.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/sparse_conv2d/kernel.h"

namespace tfc {

#define TFC_SPARSE_CONV2D_KERNEL(kernel) extern const SparseConv2DKernel kernel;
#include "kernels/sparse_conv2d/kernels.inc"
#undef TFC_SPARSE_CONV2D_KERNEL

namespace {

// Fractions of zeros below which a kernel that multiplies them too is as fast:
// 512 to 512 channels over 14 x 14 with levels up to 15, and with larger ones
// (Zen 3).
constexpr double kLeastZeros = 0.77, kLeastZerosOfWide = 0.7;
constexpr int kNarrow = 15;

constexpr size_t kAlignment = 64;

size_t Align(size_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

// Offsets in the workspace.
struct Layout {
  size_t columns, zeros, size;
};

class SparseConv2D : public Conv2D {
 public:
  SparseConv2D(const SparseConv2DKernel& kernel, const WeightsView& weights,
               const Levels& levels)
      : kernel_(kernel), shape_(weights), scales_(levels.scale) {
    const int depth = static_cast<int>(Depth(weights));
    const uint8_t* symbol = weights.symbols;
    for (int o = 0; o < weights.out_channels; ++o) {
      bool half = false;
      for (int k = 0; k < depth; ++k, ++symbol) {
        const int weight = levels.level[*symbol] - levels.zero;
        if (weight == 0) continue;
        if (!half) pairs_.push_back({{0, 0}, {0, 0}});
        pairs_.back().weights[half] = static_cast<int16_t>(weight);
        pairs_.back().depths[half] = static_cast<uint16_t>(k);
        half = !half;
      }
      ends_.push_back(static_cast<uint32_t>(pairs_.size()));
    }
    pairs_.shrink_to_fit();
  }

  size_t WorkspaceBytes(const ConvGeometry&) const override {
    return MakeLayout().size;
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    const Layout l = MakeLayout();
    char* base = static_cast<char*>(workspace);
    auto* columns = reinterpret_cast<int16_t*>(base + l.columns);
    auto* zeros = reinterpret_cast<float*>(base + l.zeros);
    std::fill_n(zeros, shape_.in_channels, 0.0f);
    const size_t image =
        size_t{1} * g.in_height * g.in_width * shape_.in_channels;
    const int outputs = g.out_height * g.out_width;
    for (int n = 0; n < g.batch; ++n, x += image) {
      const ImageScale scale =
          ScaleOf(kernel_.quantize->abs_max_bits(x, image));
      for (int first = 0; first < outputs; first += kSparsePixels) {
        const int count = std::min(kSparsePixels, outputs - first);
        Gather(g, x, zeros, first, count, scale.inverse, columns);
        kernel_.multiply({columns, count, pairs_.data(), ends_.data(),
                          scales_.data(), scale.scale, shape_.out_channels,
                          bias, activation, y});
        y += size_t{1} * count * shape_.out_channels;
      }
    }
  }

  size_t WeightBytes() const override {
    return pairs_.size() * sizeof(SparsePair) + ends_.size() * sizeof(uint32_t);
  }
  const char* KernelName() const override { return kernel_.name; }

 private:
  Layout MakeLayout() const {
    Layout l;
    l.columns = 0;
    l.zeros = Align(Depth(shape_) * kSparsePixels * sizeof(int16_t));
    l.size = Align(l.zeros + shape_.in_channels * sizeof(float));
    return l;
  }

  // The columns of outputs [first, first + count), which then repeat the last.
  void Gather(const ConvGeometry& g, const float* x, const float* zeros,
              int first, int count, float inverse, int16_t* columns) const {
    int top[kSparsePixels], left[kSparsePixels];
    for (int p = 0; p < kSparsePixels; ++p) {
      const int output = first + std::min(p, count - 1);
      top[p] = output / g.out_width * g.stride_height - g.pad_top;
      left[p] = output % g.out_width * g.stride_width - g.pad_left;
    }
    const float* pixels[kSparsePixels];
    for (int ky = 0; ky < shape_.kernel_height; ++ky) {
      for (int kx = 0; kx < shape_.kernel_width; ++kx) {
        for (int p = 0; p < kSparsePixels; ++p) {
          const int iy = top[p] + ky * g.dilation_height;
          const int ix = left[p] + kx * g.dilation_width;
          const bool inside =
              iy >= 0 && iy < g.in_height && ix >= 0 && ix < g.in_width;
          pixels[p] = inside ? x + (size_t{1} * iy * g.in_width + ix) *
                                       shape_.in_channels
                             : zeros;
        }
        kernel_.gather(pixels, shape_.in_channels, inverse, columns);
        columns += size_t{1} * shape_.in_channels * kSparsePixels;
      }
    }
  }

  const SparseConv2DKernel& kernel_;
  WeightsView shape_;  // its pointers are dead after the constructor
  std::vector<float> scales_;
  std::vector<SparsePair> pairs_;
  std::vector<uint32_t> ends_;
};

double FractionOfZeros(const WeightsView& weights, const Levels& levels) {
  const int64_t count = weights.out_channels * Depth(weights);
  const int64_t zeros = std::count_if(
      weights.symbols, weights.symbols + count,
      [&](uint8_t symbol) { return levels.level[symbol] == levels.zero; });
  return static_cast<double>(zeros) / static_cast<double>(count);
}

}  // namespace

const std::vector<const SparseConv2DKernel*>& SparseConv2DKernels() {
  static const std::vector<const SparseConv2DKernel*> kernels = {
#define TFC_SPARSE_CONV2D_KERNEL(kernel) &kernel,
#include "kernels/sparse_conv2d/kernels.inc"
#undef TFC_SPARSE_CONV2D_KERNEL
  };
  return kernels;
}

std::unique_ptr<Conv2D> CreateSparse(const SparseConv2DKernel& kernel,
                                     const WeightsView& weights,
                                     const Levels& levels) {
  if (Depth(weights) > std::numeric_limits<uint16_t>::max()) return nullptr;
  return std::make_unique<SparseConv2D>(kernel, weights, levels);
}

std::unique_ptr<Conv2D> CreateSparseConv2D(const WeightsView& weights,
                                           const Levels& levels) {
  const double least =
      levels.max_level <= kNarrow ? kLeastZeros : kLeastZerosOfWide;
  const double zeros = FractionOfZeros(weights, levels);
  if (!weights.on_maps || zeros < least) return nullptr;
  for (const SparseConv2DKernel* kernel : SparseConv2DKernels()) {
    if (kernel->available() && zeros >= kernel->least_zeros) {
      return CreateSparse(*kernel, weights, levels);
    }
  }
  return nullptr;
}

}  // namespace tfc

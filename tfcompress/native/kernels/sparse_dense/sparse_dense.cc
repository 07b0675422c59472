// The choice of a kernel, the packing of blocks, and the walk over rows.
#include "kernels/sparse_dense/sparse_dense.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/sparse_dense/kernel.h"

namespace tfc {

#define TFC_SPARSE_DENSE_KERNEL(kernel) extern const SparseDenseKernel kernel;
#include "kernels/sparse_dense/kernels.inc"
#undef TFC_SPARSE_DENSE_KERNEL

namespace {

// Fractions of blocks of zeros below which a kernel that multiplies them too is
// as fast: a row through 1024 x 1024 with levels up to 15 (Zen 3).
double LeastZeroBlocks(BlockShape shape) {
  return shape == BlockShape::kOuts ? 0.72 : 0.82;
}

constexpr int kRows = 64;  // quantized at a time
constexpr int kFour = 4;   // outs of a group of BlockShape::kDepthsInFours
constexpr size_t kAlignment = 64;

size_t RoundUp(size_t n, size_t step) { return (n + step - 1) / step * step; }

// The weights as (level - zero), and 0 outside of them.
class Source {
 public:
  Source(const WeightsView& weights, const Levels& levels)
      : weights_(weights), levels_(levels) {}

  int16_t operator()(int out, int depth) const {
    if (out >= weights_.out_channels || depth >= weights_.in_channels) return 0;
    const uint8_t symbol =
        weights_.symbols[size_t{1} * out * weights_.in_channels + depth];
    return static_cast<int16_t>(levels_.level[symbol] - levels_.zero);
  }

  bool IsZero(BlockShape shape, int out, int depth) const {
    for (int i = 0; i < kSparseBlock; ++i) {
      const bool outs = shape == BlockShape::kOuts;
      if ((*this)(outs ? out + i : out, outs ? depth : depth + i) != 0) {
        return false;
      }
    }
    return true;
  }

  // Calls `use(out, depth, last)` for each block, `last` for that of a group.
  template <class Use>
  void ForEachBlock(BlockShape shape, Use use) const {
    const bool outs = shape == BlockShape::kOuts;
    const int out_step = outs ? kSparseBlock : 1;
    const int depth_step = outs ? 1 : kSparseBlock;
    for (int out = 0; out < weights_.out_channels; out += out_step) {
      for (int depth = 0; depth < weights_.in_channels; depth += depth_step) {
        use(out, depth, depth + depth_step >= weights_.in_channels);
      }
    }
  }

 private:
  const WeightsView& weights_;
  const Levels& levels_;
};

class SparseDense : public Conv2D {
 public:
  SparseDense(const SparseDenseKernel& kernel, const WeightsView& weights,
              const Levels& levels)
      : kernel_(kernel),
        ins_(weights.in_channels),
        outs_(weights.out_channels),
        stride_(RoundUp(weights.in_channels, kSparseBlock)),
        scales_(levels.scale) {
    const Source source(weights, levels);
    if (kernel.shape == BlockShape::kDepthsInFours) {
      for (int out = 0; out < outs_; out += kFour) AddFour(source, out);
    } else {
      AddAll(source);
    }
    places_.shrink_to_fit();
    weights_.shrink_to_fit();
  }

  size_t WorkspaceBytes(const ConvGeometry&) const override {
    return Scales() + RoundUp(kRows * sizeof(float), kAlignment);
  }

  void Run(const ConvGeometry& g, const float* x, const float* bias,
           Activation activation, float* y, void* workspace) const override {
    auto* a = static_cast<int16_t*>(workspace);
    auto* row_scales =
        reinterpret_cast<float*>(static_cast<char*>(workspace) + Scales());
    for (int first = 0; first < g.batch; first += kRows) {
      const int rows = std::min(kRows, g.batch - first);
      for (int r = 0; r < rows; ++r, x += ins_) {
        const ImageScale scale =
            ScaleOf(kernel_.quantize->abs_max_bits(x, ins_));
        row_scales[r] = scale.scale;
        int16_t* row = a + r * stride_;
        if (scale.inverse == 0.0f) {
          std::fill_n(row, stride_, int16_t{0});
        } else {
          kernel_.quantize_words(x, ins_, scale.inverse, row);
          std::fill(row + ins_, row + stride_, int16_t{0});
        }
      }
      kernel_.multiply({a, stride_, rows, row_scales, places_.data(),
                        weights_.data(), ends_.data(), scales_.data(), outs_,
                        bias, activation, y});
      y += size_t{1} * rows * outs_;
    }
  }

  size_t WeightBytes() const override {
    return weights_.size() * sizeof(int16_t) +
           places_.size() * sizeof(uint16_t) + ends_.size() * sizeof(uint32_t);
  }
  const char* KernelName() const override { return kernel_.name; }

 private:
  void AddAll(const Source& source) {
    const bool in_twos = kernel_.shape == BlockShape::kOuts;
    source.ForEachBlock(kernel_.shape, [&](int out, int depth, bool last) {
      if (!source.IsZero(kernel_.shape, out, depth)) Add(source, out, depth);
      if (!last) return;
      // Of a block without a pair, the partner is zeros.
      if (in_twos && places_.size() % 2 != 0) Add(source, outs_, 0);
      ends_.push_back(static_cast<uint32_t>(places_.size()));
    });
  }

  void AddFour(const Source& source, int out) {
    std::vector<int> depths[kFour];
    size_t most = 0;
    for (int i = 0; i < kFour; ++i) {
      for (int depth = 0; depth < ins_; depth += kSparseBlock) {
        if (!source.IsZero(kernel_.shape, out + i, depth)) {
          depths[i].push_back(depth);
        }
      }
      most = std::max(most, depths[i].size());
    }
    for (size_t block = 0; block < most; ++block) {
      for (int i = 0; i < kFour; ++i) {
        const bool exists = block < depths[i].size();
        Add(source, exists ? out + i : outs_, exists ? depths[i][block] : 0);
      }
    }
    ends_.push_back(static_cast<uint32_t>(places_.size()));
  }

  // Appends a block. Of BlockShape::kOuts two share 32 weights.
  void Add(const Source& source, int out, int depth) {
    if (kernel_.shape != BlockShape::kOuts) {
      places_.push_back(static_cast<uint16_t>(depth / kSparseBlock));
      for (int i = 0; i < kSparseBlock; ++i) {
        weights_.push_back(source(out, depth + i));
      }
      return;
    }
    const size_t second = places_.size() % 2;
    places_.push_back(static_cast<uint16_t>(depth));
    if (second == 0) weights_.resize(weights_.size() + 2 * kSparseBlock);
    int16_t* pair = &weights_[weights_.size() - 2 * kSparseBlock];
    for (int i = 0; i < kSparseBlock; ++i) {
      pair[2 * i + second] = source(out + i, depth);
    }
  }

  // Offset of the rows' scales in the workspace.
  size_t Scales() const {
    return RoundUp(kRows * stride_ * sizeof(int16_t), kAlignment);
  }

  const SparseDenseKernel& kernel_;
  int ins_;
  int outs_;
  size_t stride_;  // of a row of codes
  std::vector<float> scales_;
  std::vector<uint16_t> places_;
  std::vector<int16_t> weights_;
  std::vector<uint32_t> ends_;
};

double FractionOfZeroBlocks(BlockShape shape, const WeightsView& weights,
                            const Levels& levels) {
  const Source source(weights, levels);
  int64_t zeros = 0, all = 0;
  source.ForEachBlock(shape, [&](int out, int depth, bool) {
    zeros += source.IsZero(shape, out, depth);
    ++all;
  });
  return static_cast<double>(zeros) / static_cast<double>(all);
}

bool IsDense(const WeightsView& weights) {
  return weights.kernel_height * weights.kernel_width == 1 && !weights.on_maps;
}

}  // namespace

const std::vector<const SparseDenseKernel*>& SparseDenseKernels() {
  static const std::vector<const SparseDenseKernel*> kernels = {
#define TFC_SPARSE_DENSE_KERNEL(kernel) &kernel,
#include "kernels/sparse_dense/kernels.inc"
#undef TFC_SPARSE_DENSE_KERNEL
  };
  return kernels;
}

std::unique_ptr<Conv2D> CreateBlocks(const SparseDenseKernel& kernel,
                                     const WeightsView& weights,
                                     const Levels& levels) {
  if (!IsDense(weights) ||
      weights.in_channels > std::numeric_limits<uint16_t>::max()) {
    return nullptr;
  }
  return std::make_unique<SparseDense>(kernel, weights, levels);
}

std::unique_ptr<Conv2D> CreateSparseDense(const WeightsView& weights,
                                          const Levels& levels) {
  if (!IsDense(weights)) return nullptr;
  for (const SparseDenseKernel* kernel : SparseDenseKernels()) {
    if (kernel->available() &&
        FractionOfZeroBlocks(kernel->shape, weights, levels) >=
            LeastZeroBlocks(kernel->shape)) {
      return CreateBlocks(*kernel, weights, levels);
    }
  }
  return nullptr;
}

}  // namespace tfc

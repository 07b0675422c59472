// The choice of a kernel.
#include "kernels/conv2d/conv2d.h"

#include "kernels/conv2d/kernel.h"
#include "kernels/sparse_conv2d/sparse_conv2d.h"
#include "kernels/sparse_dense/sparse_dense.h"

namespace tfc {

#define TFC_CONV2D_KERNEL(kernel) extern const Conv2DKernel kernel;
#include "kernels/conv2d/kernels.inc"
#undef TFC_CONV2D_KERNEL

const std::vector<const Conv2DKernel*>& Conv2DKernels() {
  static const std::vector<const Conv2DKernel*> kernels = {
#define TFC_CONV2D_KERNEL(kernel) &kernel,
#include "kernels/conv2d/kernels.inc"
#undef TFC_CONV2D_KERNEL
  };
  return kernels;
}

bool Accepts(Packing packing, const Levels& levels) {
  switch (packing) {
    case Packing::kBit:
      return levels.level.size() <= 2;
    case Packing::kCrumb:
      return levels.max_level <= 3;
    case Packing::kNibble:
      return levels.max_level <= 15;
    case Packing::kByte:
      return levels.max_level <= 255;
    case Packing::kPalette:
      return levels.level.size() <= 16 &&
             levels.max_level < 1 << (2 * kPaletteLowBits);
  }
  return false;
}

// Bits pay where weights pass by once: 3.3 times as fast as XNNPACK's 4 bits
// for a row of 4096 x 4096. Over many pixels their tables cost more than they
// save: 14 x 14 x 256 to 256 by 3 x 3 takes 1.15 ms, and 0.94 ms with 2 bits
// (Zen 3).
bool Suits(Packing packing, const WeightsView& weights) {
  return packing != Packing::kBit ||
         weights.kernel_height * weights.kernel_width == 1;
}

std::unique_ptr<Conv2D> Conv2D::Create(const WeightsView& weights,
                                       Arithmetic arithmetic, bool use_ref) {
  Levels levels;
  if (arithmetic == Arithmetic::kFloat || !MakeLevels(weights, &levels)) {
    return CreateFloat(weights);
  }
  if (!use_ref) {
    if (auto sparse = CreateSparseConv2D(weights, levels)) return sparse;
    if (auto sparse = CreateSparseDense(weights, levels)) return sparse;
    for (const Conv2DKernel* kernel : Conv2DKernels()) {
      if (kernel->available() && Accepts(kernel->packing, levels) &&
          Suits(kernel->packing, weights)) {
        return CreatePacked(*kernel, weights, levels);
      }
    }
  }
  return CreateRef(weights, levels);
}

}  // namespace tfc

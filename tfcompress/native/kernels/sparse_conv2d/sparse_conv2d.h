// Conv2d that skips zeros: the nonzero weights of an output channel, with their
// places, meet the activations of some pixels, channel by channel. Its
// specification is conv2d/ref.cc.
#ifndef TFCOMPRESS_NATIVE_KERNELS_SPARSE_CONV2D_SPARSE_CONV2D_H_
#define TFCOMPRESS_NATIVE_KERNELS_SPARSE_CONV2D_SPARSE_CONV2D_H_

#include <memory>

#include "kernels/conv2d/levels.h"

namespace tfc {

// nullptr where it would not be faster than a kernel that multiplies zeros too:
// for weights with too few of them, and for a fully-connected layer.
std::unique_ptr<Conv2D> CreateSparseConv2D(const WeightsView& weights,
                                           const Levels& levels);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_SPARSE_CONV2D_SPARSE_CONV2D_H_

// A fully-connected layer that skips blocks of 16 weights that are all zero.
// Its specification is conv2d/ref.cc.
#ifndef TFCOMPRESS_NATIVE_KERNELS_SPARSE_DENSE_SPARSE_DENSE_H_
#define TFCOMPRESS_NATIVE_KERNELS_SPARSE_DENSE_SPARSE_DENSE_H_

#include <memory>

#include "kernels/conv2d/levels.h"

namespace tfc {

// nullptr where it would not be faster than a kernel that multiplies zeros too:
// for weights with too few such blocks, and for a convolution of maps.
std::unique_ptr<Conv2D> CreateSparseDense(const WeightsView& weights,
                                          const Levels& levels);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_SPARSE_DENSE_SPARSE_DENSE_H_

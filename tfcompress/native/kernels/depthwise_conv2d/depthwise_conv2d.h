// 2-D depthwise convolution of float activations with low-bit weights: output
// channel o reads input channel o / multiplier only.
#ifndef TFCOMPRESS_NATIVE_KERNELS_DEPTHWISE_CONV2D_DEPTHWISE_CONV2D_H_
#define TFCOMPRESS_NATIVE_KERNELS_DEPTHWISE_CONV2D_DEPTHWISE_CONV2D_H_

#include <memory>

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d/static_conv2d.h"

namespace tfc {

// As Conv2D::Create, but for the weights: `in_channels` is 1, and `symbols` are
// [kernel_height][kernel_width][out_channels], as TFLite stores them.
// `multiplier` divides out_channels; x has out_channels / multiplier channels.
std::unique_ptr<Conv2D> CreateDepthwiseConv2D(const WeightsView& weights,
                                              int multiplier,
                                              Arithmetic arithmetic,
                                              bool use_ref = false);

// As StaticConv2D::Create, with the same weights.
std::unique_ptr<StaticConv2D> CreateStaticDepthwiseConv2D(
    const WeightsView& weights, int multiplier, bool use_ref = false);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_DEPTHWISE_CONV2D_DEPTHWISE_CONV2D_H_

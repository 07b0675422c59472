// What lies between sparse_conv2d.h and the kernels: the table of kernels and
// what each of them computes.
#ifndef TFCOMPRESS_NATIVE_KERNELS_SPARSE_CONV2D_KERNEL_H_
#define TFCOMPRESS_NATIVE_KERNELS_SPARSE_CONV2D_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "kernels/sparse_conv2d/sparse_conv2d.h"

namespace tfc {

constexpr int kSparsePixels = 32;  // of a tile

// Two nonzero weights of an output channel, as (level - zero), and the depths
// they belong to; 32 bits per nonzero weight.
struct SparsePair {
  int16_t weights[2];
  uint16_t depths[2];
};
static_assert(sizeof(SparsePair) == 8);

// y[p][o] = activation(sum_k columns[k][p] * weight[o][k]
//                      * (scales[o] * image_scale) + bias[o])
struct SparseProduct {
  const int16_t* columns;   // depth x kSparsePixels, as gather orders pixels
  int pixels;               // 1 to kSparsePixels
  const SparsePair* pairs;  // of all output channels, one after the other
  const uint32_t* ends;     // out_channels: where the pairs of each end
  const float* scales;      // out_channels
  float image_scale;
  int out_channels;
  const float* bias;  // out_channels, or nullptr
  Activation activation;
  float* y;  // pixels x out_channels
};

struct SparseConv2DKernel {
  const char* name;
  bool (*available)();
  const QuantizeKernel* quantize;

  // Quantizes `channels` floats of each of kSparsePixels pixels, as
  // quantize->quantize, to columns of the order that `multiply` wants.
  void (*gather)(const float* const* pixels, int channels, float inverse_scale,
                 int16_t* columns);

  void (*multiply)(const SparseProduct& product);

  double least_zeros = 0.0;  // a fraction, where the usual one is too low
};

// All kernels of this build, best first (kernels.inc).
const std::vector<const SparseConv2DKernel*>& SparseConv2DKernels();

// nullptr for a depth that leaves uint16.
std::unique_ptr<Conv2D> CreateSparse(const SparseConv2DKernel& kernel,
                                     const WeightsView& weights,
                                     const Levels& levels);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_SPARSE_CONV2D_KERNEL_H_

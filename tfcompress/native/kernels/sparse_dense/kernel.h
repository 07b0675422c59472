// What lies between sparse_dense.h and the kernels: the table of kernels and
// what each of them computes.
#ifndef TFCOMPRESS_NATIVE_KERNELS_SPARSE_DENSE_KERNEL_H_
#define TFCOMPRESS_NATIVE_KERNELS_SPARSE_DENSE_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "kernels/sparse_dense/sparse_dense.h"

namespace tfc {

constexpr int kSparseBlock = 16;  // weights, int16: 32 bytes

// What a block is, and the groups that `ends` counts.
enum class BlockShape : uint8_t {
  // 16 outs of one depth. A group is 16 outs; its depths come in pairs, weights
  // as [out][2], and where their number is odd the last ones are 0.
  kOuts,
  // 16 depths of one out. A group is one out; a place counts blocks of depths.
  kDepths,
  // As kDepths, but a group is 4 outs with as many blocks each, the last of
  // some
  // being zeros: [block][out].
  kDepthsInFours,
};

// y[r][o] = activation(sum_k a[r][k] * weight[o][k]
//                      * (scales[o] * row_scales[r]) + bias[o])
struct BlockProduct {
  const int16_t* a;  // rows x stride; zeros behind the last depth
  size_t stride;     // a multiple of kSparseBlock
  int rows;
  const float* row_scales;
  const uint16_t* places;  // depth or block of depths, one per block
  const int16_t* weights;  // kSparseBlock per block: level - zero
  const uint32_t* ends;    // one per group: blocks up to its end
  const float* scales;     // out_channels
  int out_channels;
  const float* bias;  // out_channels, or nullptr
  Activation activation;
  float* y;  // rows x out_channels
};

struct SparseDenseKernel {
  const char* name;
  BlockShape shape;
  bool (*available)();
  const QuantizeKernel* quantize;

  // As quantize->quantize, to int16.
  void (*quantize_words)(const float* x, size_t n, float inverse_scale,
                         int16_t* q);

  void (*multiply)(const BlockProduct& product);
};

// All kernels of this build, best first (kernels.inc).
const std::vector<const SparseDenseKernel*>& SparseDenseKernels();

// nullptr for weights that are no fully-connected layer, or whose places leave
// uint16.
std::unique_ptr<Conv2D> CreateBlocks(const SparseDenseKernel& kernel,
                                     const WeightsView& weights,
                                     const Levels& levels);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_SPARSE_DENSE_KERNEL_H_

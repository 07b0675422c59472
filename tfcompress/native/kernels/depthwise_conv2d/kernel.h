// What lies between depthwise_conv2d.h and the kernels: the table of kernels
// and what each of them computes.
#ifndef TFCOMPRESS_NATIVE_KERNELS_DEPTHWISE_CONV2D_KERNEL_H_
#define TFCOMPRESS_NATIVE_KERNELS_DEPTHWISE_CONV2D_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/conv2d/levels.h"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"
#include "kernels/quantize/quantize.h"

namespace tfc {

// Channels are padded to a multiple of this, with weights and codes of 0.
constexpr int kDepthwiseLanes = 16;

enum class DepthwisePacking : uint8_t {
  kPairs,  // [block of lanes][pair][lane of the block][2], sums in int32
  kTaps,   // [block of lanes][tap][lane of the block], sums in int16: only
           // where they cannot leave it
};

// A row of outputs, of kDepthwiseLanes channels at a time:
// y[p][c] = activation(sum_t taps[t][p * step + c] * weight[t][c]
//                      * (scales[c] * image_scale) + bias[c])
// Taps come in pairs: where their number is odd, the last one's weights are 0.
struct DepthwiseRow {
  const int16_t* const* taps;  // codes that the first output reads, 2 * pairs
  int pairs;
  size_t step;  // codes between what neighbouring outputs read
  int outputs;
  // (level - zero), as DepthwisePacking says.
  const int16_t* weights;
  const float* scales;  // channels
  float image_scale;
  int channels;
  const float* bias;  // channels, or nullptr
  Activation activation;
  float* y;  // outputs x channels
  // Only for kernels that know it: y receives, as int32, the sums alone.
  bool sums_only = false;
};

struct DepthwiseKernel {
  const char* name;
  bool (*available)();

  const QuantizeKernel* quantize;

  // As quantize->quantize, to int16.
  void (*quantize_words)(const float* x, size_t n, float inverse_scale,
                         int16_t* q);

  void (*row)(const DepthwiseRow& row);

  // For StaticConv2D; nullptr where `row` does not know sums_only.
  const RequantizeKernel* requantize = nullptr;

  DepthwisePacking packing = DepthwisePacking::kPairs;
};

// Largest codes of activations, and of int8 less its zero point.
constexpr int kLargestCode = 127, kLargestStaticCode = 255;

bool Accepts(const DepthwiseKernel& kernel, const WeightsView& weights,
             const Levels& levels, int largest_code);

// All kernels of this build, best first (kernels.inc).
const std::vector<const DepthwiseKernel*>& DepthwiseKernels();

std::unique_ptr<Conv2D> CreatePackedDepthwise(const DepthwiseKernel& kernel,
                                              const WeightsView& weights,
                                              int multiplier,
                                              const Levels& levels);
std::unique_ptr<Conv2D> CreateDepthwiseRef(const WeightsView& weights,
                                           int multiplier,
                                           const Levels& levels);
std::unique_ptr<StaticConv2D> CreateStaticPackedDepthwise(
    const DepthwiseKernel& kernel, const WeightsView& weights, int multiplier,
    const WholeLevels& levels);
std::unique_ptr<StaticConv2D> CreateStaticDepthwiseRef(
    const WeightsView& weights, int multiplier, const WholeLevels& levels);
std::unique_ptr<Conv2D> CreateDepthwiseFloat(const WeightsView& weights,
                                             int multiplier);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_DEPTHWISE_CONV2D_KERNEL_H_

// 2-D convolution of int8 activations, whose scales and zero points are static,
// with low-bit weights: int8 in, int8 out, with the bits of TFLite's reference
// kernels (BUILTIN_REF) of CONV_2D, FULLY_CONNECTED and DEPTHWISE_CONV_2D.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_STATIC_CONV2D_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_STATIC_CONV2D_H_

#include <memory>

#include "kernels/conv2d/conv2d.h"
#include "kernels/requantize/requantize.h"

namespace tfc {

class StaticConv2D {
 public:
  virtual ~StaticConv2D() = default;

  // Weights are codes of the int8 tensor: `scale` is not used, and a codebook
  // has whole numbers of at most 8 bits. nullptr for a codebook that has
  // others, and where a sum could leave int32.
  static std::unique_ptr<StaticConv2D> Create(const WeightsView& weights,
                                              bool use_ref = false);

  // Bytes of scratch that RunStatic needs for this geometry.
  virtual size_t WorkspaceBytes(const ConvGeometry& geometry) const = 0;

  // As Conv2D::Run. Taps outside of the image read the input's zero point.
  // `bias`: [out], or nullptr.
  virtual void RunStatic(const ConvGeometry& geometry, const int8_t* x,
                         const int32_t* bias, const Requantization& to,
                         int8_t* y, void* workspace) const = 0;

  virtual size_t WeightBytes() const = 0;
  virtual const char* KernelName() const = 0;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_STATIC_CONV2D_H_

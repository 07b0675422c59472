// 2-D convolution of float activations with low-bit weights. A fully-connected
// layer is the 1x1 convolution whose batch is the number of rows.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_CONV2D_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_CONV2D_H_

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tfc {

// Decoded weights, alive only during Conv2D::Create.
// weight[o][t][i] = scale[o] * (codebook ? codebook[symbol] : symbol -
// 2^(num_bits-1)).
struct WeightsView {
  int out_channels;
  int kernel_height;
  int kernel_width;
  int in_channels;
  int num_bits;  // 1 to 8
  const uint8_t*
      symbols;         // [out][kernel_height][kernel_width][in], one per byte
  const float* scale;  // num_scales values: one per out channel, or one
  int num_scales;
  const float* codebook;  // codebook_size values, or nullptr for uniform codes
  int codebook_size;
  // Whether a weight meets many pixels, as in a convolution of maps. Without
  // them every image of Run must be one pixel: a row of a fully-connected
  // layer.
  bool on_maps = true;
};

// Where the convolution reads and writes; NHWC. Padding is what TFLite computes
// for SAME or VALID; taps that fall outside of the image read 0.
struct ConvGeometry {
  int batch;
  int in_height, in_width;
  int out_height, out_width;
  int stride_height, stride_width;
  int dilation_height, dilation_width;
  int pad_top, pad_left;
};

enum class Activation : uint8_t { kNone = 0, kRelu = 1, kRelu6 = 3 };

// kInt8: activations are quantized to symmetric int8 on the fly, one scale per
// image (so an image's result does not depend on its batch); an image with a
// NaN or an infinity gives NaN everywhere. Weights are exact, but for codebooks
// that are not on a grid of 16 points; levels.h has their bound. kFloat: the
// reference, float multiply-adds over decoded weights, as TFC_ACT=float asks
// for.
enum class Arithmetic : uint8_t { kInt8, kFloat };

class Conv2D {
 public:
  virtual ~Conv2D() = default;

  // Repacks the weights once into the layout of the best kernel for this CPU
  // (or of the reference when `use_ref`). Never returns nullptr.
  static std::unique_ptr<Conv2D> Create(const WeightsView& weights,
                                        Arithmetic arithmetic,
                                        bool use_ref = false);

  // Bytes of scratch that Run needs for this geometry.
  virtual size_t WorkspaceBytes(const ConvGeometry& geometry) const = 0;

  // x: [batch][in_height][in_width][in], y:
  // [batch][out_height][out_width][out], bias: [out] or nullptr, workspace:
  // 64-byte aligned. Thread-compatible: two threads may Run the same object
  // with different workspaces.
  virtual void Run(const ConvGeometry& geometry, const float* x,
                   const float* bias, Activation activation, float* y,
                   void* workspace) const = 0;

  // Resident bytes of the packed weights.
  virtual size_t WeightBytes() const = 0;

  // Name of the kernel in use, such as "conv2d_u4_avx2_3x16".
  virtual const char* KernelName() const = 0;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_CONV2D_H_

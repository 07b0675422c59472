// What lies between conv2d.h and the kernels: the table of kernels and the
// product that each of them computes.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_KERNEL_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d/levels.h"
#include "kernels/conv2d/static_conv2d.h"
#include "kernels/quantize/quantize.h"

namespace tfc {

// Depth (taps times in channels) is padded to a multiple of this.
constexpr int kDepthStep = 8;

// y[r][o] = activation(sum_k (level[o][k] - zero) * a[r][k]
//                      * (scale[o] * row_scale[r]) + bias[o])
struct Product {
  const int8_t* a;  // rows x depth, `a_stride` bytes apart
  size_t a_stride;
  int rows;
  int depth;              // a multiple of kDepthStep
  const int32_t* shifts;  // rows: Zero(...) * sum_k a[r][k]
  const float* row_scales;
  const uint8_t* weights;  // as packed by the kernel
  const uint8_t* tables;   // kPalette: 16 low parts, 16 high parts of levels
  int32_t bit_step;        // kBit: level of symbol 1 less that of symbol 0
  void* scratch;           // as many bytes as the kernel wants
  const float* scales;     // out_channels
  int out_channels;
  const float* bias;  // out_channels, or nullptr
  Activation activation;
  float* y;  // rows x out_channels
  // Only for kernels that know it: y receives, as int32, the sums alone.
  bool sums_only = false;
};

// Which weights a kernel takes and how they are stored; see pack.cc.
enum class Packing : uint8_t {
  kBit,      // up to 2 symbols: 1 bit, the symbol
  kCrumb,    // levels up to 3: 2 bits, the level
  kNibble,   // levels up to 15: 4 bits, the level
  kByte,     // levels up to 255: 8 bits, the level
  kPalette,  // up to 16 symbols, levels up to 1023: 4 bits, the symbol
};

// kPalette splits a level into high * 32 + low.
constexpr int kPaletteLowBits = 5;

struct Conv2DKernel {
  const char* name;
  Packing packing;
  int rows;     // of its tile
  int columns;  // of its tile; out channels are padded to a multiple
  bool (*available)();
  void (*multiply)(const Product& product);
  const QuantizeKernel* quantize;
  int scratch;          // bytes of Product::scratch for each depth
  int row_scratch = 0;  // and for each depth of each row
  // For StaticConv2D; nullptr where `multiply` does not know sums_only.
  const RequantizeKernel* requantize = nullptr;
};

bool Accepts(Packing packing, const Levels& levels);

// Whether it is the fastest for a kernel of this size.
bool Suits(Packing packing, const WeightsView& weights);

// No load of 32 aligned bytes crosses two of these: a row through 4096 x 4096
// of 4 bits takes 1.15 times as long where every second one does (Zen 3).
struct alignas(64) CacheLine {
  uint8_t bytes[64];
};

// Packed weights of all out channels, [block of columns][depth / 8][...].
std::vector<CacheLine> Pack(const Conv2DKernel& kernel,
                            const WeightsView& weights, const Levels& levels);

// The zero of what the kernel adds up: levels, but for kBit, which adds up
// symbol * bit_step.
int Zero(Packing packing, const Levels& levels);

// The 32 bytes of Product::tables.
std::vector<uint8_t> PaletteTables(const Levels& levels);

// All kernels of this build, best first (kernels.inc).
const std::vector<const Conv2DKernel*>& Conv2DKernels();

std::unique_ptr<Conv2D> CreatePacked(const Conv2DKernel& kernel,
                                     const WeightsView& weights,
                                     const Levels& levels);
std::unique_ptr<Conv2D> CreateRef(const WeightsView& weights,
                                  const Levels& levels);
std::unique_ptr<StaticConv2D> CreateStaticPacked(const Conv2DKernel& kernel,
                                                 const WeightsView& weights,
                                                 const WholeLevels& levels);
std::unique_ptr<StaticConv2D> CreateStaticRef(const WeightsView& weights,
                                              const WholeLevels& levels);
std::unique_ptr<Conv2D> CreateFloat(const WeightsView& weights);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_KERNEL_H_

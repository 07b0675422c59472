// Weights as integers, the form that every int8 kernel computes with.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_LEVELS_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_LEVELS_H_

#include <cstdint>
#include <vector>

#include "kernels/conv2d/conv2d.h"

namespace tfc {

// weight[o][k] ~ scale[o] * (level[symbol[o][k]] - zero).
//
// Exact for uniform codes, for a codebook whose entries lie on a grid of at
// most 16 points (binary, ternary, ...), and for one of integers that are at
// most `resolution` + 1 apart (powers of two of 4 bits, any int8). Any other
// codebook is rounded to the nearest of `resolution + 1` points; 0 is always
// one of them, so that zeros stay zeros. The error of a weight is at most
//
//     scale[o] * (max(codebook, 0) - min(codebook, 0)) / (2 * resolution),
//
// with resolution = kPaletteResolution for up to 16 entries, else
// kByteResolution, or fewer where 127 * depth * resolution would leave int32.
struct Levels {
  std::vector<uint16_t> level;  // one per symbol
  int zero = 0;
  int max_level = 0;
  std::vector<float> scale;  // one per out channel
  int resolution = 0;        // 0 when exact
};

constexpr int kPaletteResolution = 1022;
constexpr int kByteResolution = 254;

// Products that one output adds up.
int64_t Depth(const WeightsView& weights);

// Returns false when a sum could leave int32: depth * 127 * |level - zero|.
bool MakeLevels(const WeightsView& weights, Levels* levels);

// Codes of an int8 tensor: code[o][k] = step * (level[symbol[o][k]] - zero),
// exactly; Levels::scale is not used.
struct WholeLevels : Levels {
  int step = 1;
};

// Returns false also for a codebook with entries that are not whole or leave
// int8.
bool MakeWholeLevels(const WeightsView& weights, WholeLevels* levels);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_LEVELS_H_

#include "kernels/conv2d/levels.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace tfc {
namespace {

constexpr int kMaxGridLevel = 15;
constexpr double kGridTolerance = 1.0 / (1 << 22);  // of the largest entry

// level = round(entry / step) + zero.
void RoundCodebook(const WeightsView& weights, double low, double step,
                   Levels* levels) {
  levels->zero = static_cast<int>(std::nearbyint(-low / step));
  for (int s = 0; s < weights.codebook_size; ++s) {
    const double rounded = std::nearbyint(weights.codebook[s] / step);
    levels->level.push_back(
        static_cast<uint16_t>(static_cast<int>(rounded) + levels->zero));
  }
}

bool OnGrid(const WeightsView& weights, double largest, double step) {
  for (int s = 0; s < weights.codebook_size; ++s) {
    const double entry = weights.codebook[s];
    const double error = entry - std::nearbyint(entry / step) * step;
    if (std::fabs(error) > kGridTolerance * largest) return false;
  }
  return true;
}

bool OnIntegers(const WeightsView& weights) {
  return std::all_of(
      weights.codebook, weights.codebook + weights.codebook_size,
      [](float entry) { return entry == std::nearbyint(entry); });
}

// Returns the step between levels; 0 when there is no resolution that fits.
double ChooseCodebook(const WeightsView& weights, Levels* levels) {
  double low = 0.0, high = 0.0;
  for (int s = 0; s < weights.codebook_size; ++s) {
    low = std::min<double>(low, weights.codebook[s]);
    high = std::max<double>(high, weights.codebook[s]);
  }
  const double range = high - low;
  if (range == 0.0) {
    RoundCodebook(weights, 0.0, 1.0, levels);
    return 1.0;
  }
  for (int n = 1; n <= kMaxGridLevel; ++n) {
    // The zero level takes a point of the grid, so n steps end at level n.
    const double step = range / n;
    if (OnGrid(weights, std::max(-low, high), step)) {
      RoundCodebook(weights, low, step, levels);
      return step;
    }
  }
  const int64_t fits =
      std::numeric_limits<int32_t>::max() / (127 * Depth(weights)) - 1;
  const int64_t wanted =
      weights.codebook_size <= 16 ? kPaletteResolution : kByteResolution;
  const int resolution = static_cast<int>(std::min(wanted, fits));
  if (resolution <= kMaxGridLevel) return 0.0;
  if (range <= resolution + 1 && OnIntegers(weights)) {
    RoundCodebook(weights, low, 1.0, levels);
    return 1.0;
  }
  levels->resolution = resolution;
  const double step = range / resolution;
  RoundCodebook(weights, low, step, levels);
  return step;
}

}  // namespace

int64_t Depth(const WeightsView& weights) {
  return int64_t{weights.kernel_height} * weights.kernel_width *
         weights.in_channels;
}

bool MakeLevels(const WeightsView& weights, Levels* levels) {
  double step = 1.0;
  if (weights.codebook != nullptr) {
    step = ChooseCodebook(weights, levels);
    if (step == 0.0) return false;
  } else {
    levels->zero = 1 << (weights.num_bits - 1);
    for (int s = 0; s < 1 << weights.num_bits; ++s) {
      levels->level.push_back(static_cast<uint16_t>(s));
    }
  }
  int largest = 0;
  for (const uint16_t level : levels->level) {
    levels->max_level = std::max<int>(levels->max_level, level);
    largest = std::max(largest, std::abs(level - levels->zero));
  }
  for (int o = 0; o < weights.out_channels; ++o) {
    const float scale = weights.scale[weights.num_scales == 1 ? 0 : o];
    levels->scale.push_back(static_cast<float>(scale * step));
  }
  return Depth(weights) * 127 * std::max(largest, 1) <=
         std::numeric_limits<int32_t>::max();
}

bool MakeWholeLevels(const WeightsView& weights, WholeLevels* levels) {
  const float one = 1.0f;
  WeightsView codes = weights;
  codes.scale = &one;
  codes.num_scales = 1;
  if (!MakeLevels(codes, levels)) return false;
  levels->step = static_cast<int>(levels->scale[0]);
  for (int s = 0; s < weights.codebook_size; ++s) {
    const int code = levels->step * (levels->level[s] - levels->zero);
    if (static_cast<float>(code) != weights.codebook[s]) return false;
    if (code < -128 || code > 127) return false;
  }
  return true;
}

}  // namespace tfc

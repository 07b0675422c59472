// One convolution with its data, and ways to run it.
#ifndef TFCOMPRESS_TESTS_NATIVE_KERNELS_CONV_CASE_H_
#define TFCOMPRESS_TESTS_NATIVE_KERNELS_CONV_CASE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "guarded.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d/kernel.h"

namespace tfc {

constexpr int kAwkward[] = {1,  2,  3,  5,  7,  8,   15,  16, 17,
                            31, 33, 63, 64, 65, 127, 129, 255};

using Random = std::mt19937;

inline int Uniform(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

// How many random shapes a test takes of each width: `usual`, or as many as the
// target random_shapes asks for.
inline int Shapes(int usual) {
  const char* asked = std::getenv("TFC_SHAPES");
  return asked != nullptr ? std::atoi(asked) : usual;
}

// The kinds of weights that kernels tell apart.
struct Width {
  int num_bits;
  int codebook;  // entries, 0 for uniform codes
};
constexpr Width kWidths[] = {{1, 0}, {2, 0},  {3, 0},  {4, 0},
                             {5, 0}, {8, 0},  {1, 2},  {2, 3},
                             {3, 8}, {4, 16}, {5, 17}, {8, 256}};

struct ConvCase {
  int outs = 1, kernel_height = 1, kernel_width = 1, ins = 1;
  int num_bits = 4;
  std::vector<float> codebook;  // empty: uniform
  std::vector<uint8_t> symbols;
  std::vector<float> scale;
  std::vector<float> bias;  // empty: none
  ConvGeometry geometry{};
  std::vector<float> x;
  Activation activation = Activation::kNone;

  int depth() const { return kernel_height * kernel_width * ins; }
  size_t image() const {
    return size_t{1} * geometry.in_height * geometry.in_width * ins;
  }
  size_t outputs() const {
    return size_t{1} * geometry.batch * geometry.out_height *
           geometry.out_width * outs;
  }

  WeightsView view() const {
    WeightsView v{};
    v.out_channels = outs;
    v.kernel_height = kernel_height;
    v.kernel_width = kernel_width;
    v.in_channels = ins;
    v.num_bits = num_bits;
    v.symbols = symbols.data();
    v.scale = scale.data();
    v.num_scales = static_cast<int>(scale.size());
    v.codebook = codebook.empty() ? nullptr : codebook.data();
    v.codebook_size = static_cast<int>(codebook.size());
    return v;
  }

  void FullyConnected(int rows) {
    geometry = {rows, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
  }

  // Output size and padding as TFLite computes them; false if there is none.
  bool Spatial(int batch, int height, int width, int stride, int dilation,
               bool same) {
    const int kh = (kernel_height - 1) * dilation + 1;
    const int kw = (kernel_width - 1) * dilation + 1;
    ConvGeometry& g = geometry;
    g.batch = batch;
    g.in_height = height;
    g.in_width = width;
    g.stride_height = g.stride_width = stride;
    g.dilation_height = g.dilation_width = dilation;
    g.out_height = (height - (same ? 1 : kh) + stride) / stride;
    g.out_width = (width - (same ? 1 : kw) + stride) / stride;
    if (!same && (height < kh || width < kw)) return false;
    const auto pad = [stride](int in, int out, int kernel) {
      return std::max(0, ((out - 1) * stride + kernel - in) / 2);
    };
    g.pad_top = same ? pad(height, g.out_height, kh) : 0;
    g.pad_left = same ? pad(width, g.out_width, kw) : 0;
    return true;
  }

  int num_symbols() const {
    return codebook.empty() ? 1 << num_bits : static_cast<int>(codebook.size());
  }

  // The symbol of a weight of 0; any one where the codebook has none.
  int zero_symbol() const {
    for (size_t s = 0; s < codebook.size(); ++s) {
      if (codebook[s] == 0.0f) return static_cast<int>(s);
    }
    return codebook.empty() ? 1 << (num_bits - 1) : 0;
  }

  void SetWidth(const Width& width, Random& random) {
    num_bits = width.num_bits;
    codebook.clear();
    if (width.codebook == 3) {
      codebook = {-1.0f, 0.0f, 1.0f};
    } else if (width.codebook > 0) {
      RandomCodebook(random, width.codebook);
    }
  }

  void RandomCodebook(Random& random, int size) {
    std::normal_distribution<float> normal;
    codebook.assign(size, 0.0f);
    for (float& c : codebook) c = normal(random);
    if (size > 2) codebook[size / 2] = 0.0f;
    std::sort(codebook.begin(), codebook.end());
  }

  void RandomData(Random& random) {
    std::normal_distribution<float> normal;
    symbols.resize(size_t{1} * outs * depth());
    for (uint8_t& s : symbols) {
      s = static_cast<uint8_t>(Uniform(random, 0, num_symbols() - 1));
    }
    scale.resize(Uniform(random, 0, 3) == 0 ? 1 : outs);
    for (float& s : scale) s = 0.01f + std::abs(normal(random));
    bias.resize(Uniform(random, 0, 3) == 0 ? 0 : outs);
    for (float& b : bias) b = normal(random);
    x.resize(geometry.batch * image());
    for (float& v : x) v = normal(random);
    const Activation all[] = {Activation::kNone, Activation::kRelu,
                              Activation::kRelu6};
    activation = all[Uniform(random, 0, 2)];
  }

  // Puts each image on its own int8 grid, so that quantizing changes nothing.
  void RoundActivations() {
    for (int n = 0; n < geometry.batch; ++n) {
      float* values = x.data() + n * image();
      float largest = 0.0f;
      for (size_t k = 0; k < image(); ++k) {
        largest = std::max(largest, std::fabs(values[k]));
      }
      for (size_t k = 0; k < image(); ++k) {
        values[k] =
            std::nearbyint(values[k] * (127.0f / largest)) * (largest / 127.0f);
      }
    }
  }

  // Every buffer against a page that traps.
  std::vector<float> Run(const Conv2D& conv, Guard guard) const {
    Guarded<float> in(x, guard), offset(bias, guard), y(outputs(), guard);
    Guarded<char> workspace((conv.WorkspaceBytes(geometry) + 63) / 64 * 64,
                            guard);
    conv.Run(geometry, in.data(), bias.empty() ? nullptr : offset.data(),
             activation, y.data(), workspace.data());
    return y.values();
  }
};

// The second of three images is NaN everywhere; the others are as they were.
inline void ExpectNanInSecondOfThree(const std::vector<float>& got,
                                     const std::vector<float>& clean) {
  ASSERT_EQ(got.size(), clean.size());
  const size_t part = got.size() / 3;
  for (size_t i = 0; i < got.size(); ++i) {
    if (i / part == 1) {
      ASSERT_TRUE(std::isnan(got[i]));
    } else {
      ASSERT_EQ(got[i], clean[i]);
    }
  }
}

// The same bits, but for NaNs, which only have to be NaNs.
inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != a[i] && b[i] != b[i]) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return false;
  }
  return true;
}

}  // namespace tfc

#endif  // TFCOMPRESS_TESTS_NATIVE_KERNELS_CONV_CASE_H_

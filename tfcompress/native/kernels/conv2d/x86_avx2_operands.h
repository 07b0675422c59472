// The weights of each packing as operands of vpmaddubsw. Only for files that
// are compiled for AVX2.
#ifndef TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_OPERANDS_H_
#define TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_OPERANDS_H_

#include "kernels/conv2d/x86_avx2.h"

namespace tfc {
namespace {

// Each of the following gives, for 4 depths, the two vectors of unsigned
// weights that are multiplied with the same activations.
struct Operands {
  __m256i first, second;
};

// Weights of <= 2 bits: outs 0-7 and outs 8-15.
struct Crumbs {
  static constexpr int kVectors = 2;
  static constexpr int kStepBytes = 32;
  static constexpr int kSafeSteps = 21;  // 42 x 2 x 127 x 3 = 32004
  explicit Crumbs(const uint8_t*) {}

  template <int kHalf>
  Operands Get(const uint8_t* step) const {
    const __m256i v = _mm256_srli_epi16(Load(step), 4 * kHalf);
    const __m256i mask = _mm256_set1_epi8(3);
    return {_mm256_and_si256(v, mask),
            _mm256_and_si256(_mm256_srli_epi16(v, 2), mask)};
  }
};

// Weights of <= 4 bits: outs 0-7 and outs 8-15.
struct Nibbles {
  static constexpr int kVectors = 2;  // of 8 outs
  static constexpr int kStepBytes = 64;
  static constexpr int kSafeSteps = 4;  // 8 x 2 x 127 x 15 = 30480
  explicit Nibbles(const uint8_t*) {}

  template <int kHalf>
  Operands Get(const uint8_t* step) const {
    const __m256i v = Load(step + 32 * kHalf);
    return {LowNibbles(v), HighNibbles(v)};
  }
};

// Weights of <= 8 bits: low nibbles and high nibbles of outs 0-7.
struct Bytes : Nibbles {
  static constexpr int kVectors = 1;
  static constexpr int kHigh = 16;  // weight of the high part
  using Nibbles::Nibbles;
};

// Palette indices: low and high parts of the levels of outs 0-7.
struct Palette {
  static constexpr int kVectors = 1;
  static constexpr int kStepBytes = 32;
  static constexpr int kSafeSteps = 2;  // 4 x 2 x 127 x 31 = 31496
  static constexpr int kHigh = 1 << kPaletteLowBits;
  __m256i low, high;

  explicit Palette(const uint8_t* tables) {
    const auto* halves = reinterpret_cast<const __m128i*>(tables);
    low = _mm256_broadcastsi128_si256(_mm_loadu_si128(halves));
    high = _mm256_broadcastsi128_si256(_mm_loadu_si128(halves + 1));
  }

  template <int kHalf>
  Operands Get(const uint8_t* step) const {
    const __m256i v = Load(step);
    const __m256i index = kHalf == 0 ? LowNibbles(v) : HighNibbles(v);
    return {_mm256_shuffle_epi8(low, index), _mm256_shuffle_epi8(high, index)};
  }
};

}  // namespace
}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_CONV2D_X86_AVX2_OPERANDS_H_

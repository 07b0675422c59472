// How the kernels for AVX2 add up and write outputs. Only for files that are
// compiled for AVX2.
#ifndef TFCOMPRESS_NATIVE_KERNELS_X86_OUTPUTS_H_
#define TFCOMPRESS_NATIVE_KERNELS_X86_OUTPUTS_H_

#include <immintrin.h>

#include <limits>

#include "kernels/conv2d/conv2d.h"

namespace tfc {
namespace {

constexpr int kEight = 8;  // consecutive outs

inline bool HasAvx2() { return __builtin_cpu_supports("avx2"); }

// Sums in place, now: GCC 12 otherwise keeps all products of an unrolled loop
// for one sum at its end, and spills and copies registers (159 instead of 250
// GOPS).
inline void AddWords(__m256i* sum, __m256i v) {
  asm("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(v));
}

inline void AddInts(__m256i* sum, __m256i v) {
  asm("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(v));
}

// The first `count` of 8 lanes.
inline __m256i LanesBelow(int count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
}

// What the outputs of 8 consecutive outs have in common; scales and bias, which
// may be nullptr, are read as far as there are outs.
struct EightOuts {
  int count;     // of outs, also more than 8, or none
  __m256i mask;  // lanes that exist
  __m256 scale, bias;

  EightOuts() = default;
  EightOuts(const float* scales, const float* biases, int out, int outs)
      : count(outs - out), mask(LanesBelow(count)) {
    scale = bias = _mm256_setzero_ps();
    if (count <= 0) return;
    scale = _mm256_maskload_ps(scales + out, mask);
    if (biases != nullptr) bias = _mm256_maskload_ps(biases + out, mask);
  }

  void Write(__m256 v, float* y) const {
    if (count >= kEight) {
      _mm256_storeu_ps(y, v);
    } else {
      _mm256_maskstore_ps(y, mask, v);
    }
  }
};

// The least and the greatest output of an activation.
struct Range {
  __m256 low, high;

  explicit Range(Activation activation) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    low = _mm256_set1_ps(activation == Activation::kNone ? -kInfinity : 0.0f);
    high = _mm256_set1_ps(activation == Activation::kRelu6 ? 6.0f : kInfinity);
  }

  // NaNs stay: the second operand is the result where one of them is a NaN.
  __m256 Clamp(__m256 v) const {
    return _mm256_min_ps(high, _mm256_max_ps(low, v));
  }
};

}  // namespace
}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_X86_OUTPUTS_H_

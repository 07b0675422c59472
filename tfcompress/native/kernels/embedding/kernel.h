// What lies between embedding.h and the kernels: the table of kernels and what
// each of them computes.
#ifndef TFCOMPRESS_NATIVE_KERNELS_EMBEDDING_KERNEL_H_
#define TFCOMPRESS_NATIVE_KERNELS_EMBEDDING_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tfc {

// y[i] = scale * levels[symbol first + i], for i below count.
struct Run {
  const uint8_t* packed;  // all symbols, least significant bit first
  uint64_t first;
  uint64_t count;
  int num_bits;
  const float* levels;  // 2^num_bits
  float scale;
  float* y;
};

// A kernel may read this far past the last symbol.
constexpr size_t kTableTail = 8;

struct EmbeddingKernel {
  const char* name;
  bool (*available)();
  void (*decode)(const Run& run);
};

extern const EmbeddingKernel embedding_ref;

// All kernels of this build, best first (kernels.inc); the last is the
// reference.
const std::vector<const EmbeddingKernel*>& EmbeddingKernels();

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_EMBEDDING_KERNEL_H_

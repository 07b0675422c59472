// The specification of embedding rows, in obvious loops. Every other kernel
// gives the same bits.
#include "kernels/embedding/kernel.h"

namespace tfc {
namespace {

void Decode(const Run& run) {
  const uint32_t mask = (1u << run.num_bits) - 1;
  for (uint64_t i = 0; i < run.count; ++i) {
    const uint64_t bit = (run.first + i) * run.num_bits;
    const uint8_t* bytes = run.packed + bit / 8;
    const uint32_t two = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8;
    run.y[i] = run.scale * run.levels[two >> bit % 8 & mask];
  }
}

}  // namespace

const EmbeddingKernel embedding_ref = {"embedding_ref", [] { return true; },
                                       Decode};

}  // namespace tfc

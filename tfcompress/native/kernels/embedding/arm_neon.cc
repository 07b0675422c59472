// Eight symbols at a time: they fit in 64 bits, whatever bit they start at. Up
// to 16 levels lie in 64 bytes, in which tbl looks up the 4 bytes of each.
#include <arm_neon.h>

#include <cstring>

#include "kernels/embedding/kernel.h"

namespace tfc {
namespace {

constexpr uint64_t kStep = 8;
constexpr int kTableBits = 4;

inline uint64_t Word(const Run& run, uint64_t i) {
  const uint64_t bit = (run.first + i) * run.num_bits;
  uint64_t word;
  std::memcpy(&word, run.packed + bit / 8, sizeof(word));
  return word >> bit % 8;
}

// Returns how many symbols were decoded.
uint64_t DecodeByTable(const Run& run) {
  float levels[1 << kTableBits] = {};
  for (int s = 0; s < 1 << run.num_bits; ++s) levels[s] = run.levels[s];
  uint8x16x4_t table;
  for (int j = 0; j < 4; ++j) {
    table.val[j] = vreinterpretq_u8_f32(vld1q_f32(levels + 4 * j));
  }
  const int bits = -run.num_bits;  // to the right
  const int first_four[4] = {0, bits, 2 * bits, 3 * bits};
  const int32x4_t first = vld1q_s32(first_four);
  const int32x4_t last = vaddq_s32(first, vdupq_n_s32(4 * bits));
  const uint32x4_t mask = vdupq_n_u32((1u << run.num_bits) - 1);
  const uint32x4_t byte = vdupq_n_u32(0x03020100);
  const auto four = [&](uint32x4_t symbols, int32x4_t shift) {
    const uint32x4_t symbol = vandq_u32(vshlq_u32(symbols, shift), mask);
    const uint32x4_t index = vmlaq_n_u32(byte, symbol, 0x04040404);
    const uint8x16_t level = vqtbl4q_u8(table, vreinterpretq_u8_u32(index));
    return vmulq_n_f32(vreinterpretq_f32_u8(level), run.scale);
  };
  uint64_t i = 0;
  for (; i + kStep <= run.count; i += kStep) {
    const uint32x4_t symbols = vdupq_n_u32(static_cast<uint32_t>(Word(run, i)));
    vst1q_f32(run.y + i, four(symbols, first));
    vst1q_f32(run.y + i + 4, four(symbols, last));
  }
  return i;
}

uint64_t DecodeByLoads(const Run& run) {
  const uint64_t mask = (1u << run.num_bits) - 1;
  uint64_t i = 0;
  for (; i + kStep <= run.count; i += kStep) {
    uint64_t word = Word(run, i);
    float levels[kStep];
    for (float& level : levels) {
      level = run.levels[word & mask];
      word >>= run.num_bits;
    }
    vst1q_f32(run.y + i, vmulq_n_f32(vld1q_f32(levels), run.scale));
    vst1q_f32(run.y + i + 4, vmulq_n_f32(vld1q_f32(levels + 4), run.scale));
  }
  return i;
}

void Decode(const Run& run) {
  const uint64_t done =
      run.num_bits <= kTableBits ? DecodeByTable(run) : DecodeByLoads(run);
  Run rest = run;
  rest.first += done;
  rest.count -= done;
  rest.y += done;
  embedding_ref.decode(rest);
}

}  // namespace

extern const EmbeddingKernel embedding_neon;
const EmbeddingKernel embedding_neon = {"embedding_neon", [] { return true; },
                                        Decode};

}  // namespace tfc

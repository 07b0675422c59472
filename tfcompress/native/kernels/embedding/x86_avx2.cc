// Eight symbols at a time: they fit in 64 bits, whatever bit they start at.
#include <immintrin.h>

#include <cstring>

#include "kernels/embedding/kernel.h"

namespace tfc {
namespace {

constexpr uint64_t kStep = 8;

void Decode(const Run& run) {
  const int64_t bits = run.num_bits;
  const __m256i mask = _mm256_set1_epi64x((int64_t{1} << bits) - 1);
  const __m256i low = _mm256_setr_epi64x(0, bits, 2 * bits, 3 * bits);
  const __m256i high = _mm256_add_epi64(low, _mm256_set1_epi64x(4 * bits));
  const __m256 scale = _mm256_set1_ps(run.scale);
  uint64_t i = 0;
  for (; i + kStep <= run.count; i += kStep) {
    const uint64_t bit = (run.first + i) * run.num_bits;
    uint64_t word;
    std::memcpy(&word, run.packed + bit / 8, sizeof(word));
    const __m256i all =
        _mm256_set1_epi64x(static_cast<int64_t>(word >> bit % 8));
    const __m256i first = _mm256_and_si256(_mm256_srlv_epi64(all, low), mask);
    const __m256i last = _mm256_and_si256(_mm256_srlv_epi64(all, high), mask);
    const __m256 levels =
        _mm256_set_m128(_mm256_i64gather_ps(run.levels, last, sizeof(float)),
                        _mm256_i64gather_ps(run.levels, first, sizeof(float)));
    _mm256_storeu_ps(run.y + i, _mm256_mul_ps(scale, levels));
  }
  Run rest = run;
  rest.first += i;
  rest.count -= i;
  rest.y += i;
  embedding_ref.decode(rest);
}

}  // namespace

extern const EmbeddingKernel embedding_avx2;
const EmbeddingKernel embedding_avx2 = {
    "embedding_avx2",
    [] { return static_cast<bool>(__builtin_cpu_supports("avx2")); }, Decode};

}  // namespace tfc

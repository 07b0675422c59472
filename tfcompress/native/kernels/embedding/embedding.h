// Rows of a table of weights that stays packed in memory.
#ifndef TFCOMPRESS_NATIVE_KERNELS_EMBEDDING_EMBEDDING_H_
#define TFCOMPRESS_NATIVE_KERNELS_EMBEDDING_EMBEDDING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tfc {

struct EmbeddingKernel;

// Decoded symbols, alive only during the constructor of Embedding.
// weight[i] = scales[i / (rows * columns / num_scales)] * levels[symbols[i]].
struct TableView {
  uint64_t rows;
  uint64_t columns;
  int num_bits;            // 1 to 8
  const uint8_t* symbols;  // rows x columns, one per byte, below num_levels
  const float* levels;     // at most 2^num_bits
  int num_levels;
  const float* scales;  // one, one per row, or one per block of a row
  uint64_t num_scales;
};

class Embedding {
 public:
  // Packs the symbols without gaps, `num_bits` each, for the best kernel of
  // this CPU (or the reference when `use_ref`).
  explicit Embedding(const TableView& table, bool use_ref = false);
  Embedding(const TableView& table, const EmbeddingKernel& kernel);

  uint64_t rows() const { return rows_; }

  // y[i][c] = weight[indices[i]][c]; every index is in 0 ... rows() - 1.
  void Gather(const int32_t* indices, size_t count, float* y) const;

  // Resident bytes of symbols, levels and scales.
  size_t WeightBytes() const;

  // Name of the kernel in use, such as "embedding_avx2".
  const char* KernelName() const;

 private:
  const EmbeddingKernel& kernel_;
  uint64_t rows_;
  uint64_t columns_;
  uint64_t run_;  // consecutive weights of a row that share a scale
  int num_bits_;
  std::vector<float> levels_;  // 2^num_bits
  std::vector<float> scales_;
  std::vector<uint8_t> packed_;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_EMBEDDING_EMBEDDING_H_

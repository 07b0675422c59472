// The choice of a kernel, the packing of the table, and the walk over rows.
#include "kernels/embedding/embedding.h"

#include <algorithm>

#include "kernels/embedding/kernel.h"

namespace tfc {

#define TFC_EMBEDDING_KERNEL(kernel) extern const EmbeddingKernel kernel;
#include "kernels/embedding/kernels.inc"
#undef TFC_EMBEDDING_KERNEL

namespace {

std::vector<uint8_t> PackTable(const TableView& table) {
  const uint64_t count = table.rows * table.columns;
  std::vector<uint8_t> packed((count * table.num_bits + 7) / 8 + kTableTail);
  uint8_t* next = packed.data();
  uint32_t pending = 0;
  int pending_bits = 0;
  for (uint64_t i = 0; i < count; ++i) {
    pending |= static_cast<uint32_t>(table.symbols[i]) << pending_bits;
    pending_bits += table.num_bits;
    if (pending_bits >= 8) {
      *next++ = static_cast<uint8_t>(pending);
      pending >>= 8;
      pending_bits -= 8;
    }
  }
  *next = static_cast<uint8_t>(pending);
  return packed;
}

const EmbeddingKernel& Choose(bool use_ref) {
  if (!use_ref) {
    for (const EmbeddingKernel* kernel : EmbeddingKernels()) {
      if (kernel->available()) return *kernel;
    }
  }
  return embedding_ref;
}

}  // namespace

const std::vector<const EmbeddingKernel*>& EmbeddingKernels() {
  static const std::vector<const EmbeddingKernel*> kernels = {
#define TFC_EMBEDDING_KERNEL(kernel) &kernel,
#include "kernels/embedding/kernels.inc"
#undef TFC_EMBEDDING_KERNEL
  };
  return kernels;
}

Embedding::Embedding(const TableView& table, bool use_ref)
    : Embedding(table, Choose(use_ref)) {}

Embedding::Embedding(const TableView& table, const EmbeddingKernel& kernel)
    : kernel_(kernel),
      rows_(table.rows),
      columns_(table.columns),
      run_(std::min(table.columns,
                    table.rows * table.columns / table.num_scales)),
      num_bits_(table.num_bits),
      levels_(table.levels, table.levels + table.num_levels),
      scales_(table.scales, table.scales + table.num_scales),
      packed_(PackTable(table)) {
  levels_.resize(size_t{1} << table.num_bits);
}

void Embedding::Gather(const int32_t* indices, size_t count, float* y) const {
  const uint64_t per_scale = rows_ * columns_ / scales_.size();
  Run run{packed_.data(), 0, run_, num_bits_, levels_.data(), 0.0f, y};
  for (size_t i = 0; i < count; ++i) {
    run.first = static_cast<uint64_t>(indices[i]) * columns_;
    for (uint64_t column = 0; column < columns_; column += run_) {
      run.scale = scales_[run.first / per_scale];
      kernel_.decode(run);
      run.first += run_;
      run.y += run_;
    }
  }
}

size_t Embedding::WeightBytes() const {
  return packed_.size() + sizeof(float) * (levels_.size() + scales_.size());
}

const char* Embedding::KernelName() const { return kernel_.name; }

}  // namespace tfc

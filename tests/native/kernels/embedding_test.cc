// Every embedding kernel against the formula, at awkward sizes and every width.
#include "kernels/embedding/embedding.h"

#include <gtest/gtest.h>

#include <random>

#include "guarded.h"
#include "kernels/embedding/kernel.h"

namespace tfc {
namespace {

constexpr int kAwkwardColumns[] = {1,  2,  3,  5,  7,  8,   15,  16, 17,
                                   31, 33, 63, 64, 65, 127, 129, 255};

struct Table {
  Table(uint64_t rows, uint64_t columns, int num_bits, uint64_t num_scales,
        uint32_t seed)
      : rows(rows), columns(columns), num_bits(num_bits) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    levels.resize(seed % 3 == 0 ? (1 << num_bits) - (num_bits > 1)
                                : 1 << num_bits);
    for (float& level : levels) level = normal(random);
    scales.resize(num_scales);
    for (float& scale : scales) scale = normal(random);
    for (uint64_t i = 0; i < rows * columns; ++i) {
      symbols.push_back(static_cast<uint8_t>(random() % levels.size()));
    }
  }

  TableView view() const {
    return {rows,           columns,       num_bits,
            symbols.data(), levels.data(), static_cast<int>(levels.size()),
            scales.data(),  scales.size()};
  }

  float At(uint64_t i) const {
    return scales[i / (symbols.size() / scales.size())] * levels[symbols[i]];
  }

  uint64_t rows, columns;
  int num_bits;
  std::vector<float> levels, scales;
  std::vector<uint8_t> symbols;
};

void ExpectRows(const Embedding& embedding, const Table& table,
                const std::vector<int32_t>& indices, Guard guard) {
  Guarded<int32_t> in(indices, guard);
  Guarded<float> y(indices.size() * table.columns, guard);
  embedding.Gather(in.data(), indices.size(), y.data());
  for (size_t i = 0; i < y.size(); ++i) {
    const uint64_t row = static_cast<uint64_t>(indices[i / table.columns]);
    ASSERT_EQ(y.data()[i], table.At(row * table.columns + i % table.columns))
        << embedding.KernelName() << " " << table.num_bits << " bits, "
        << table.columns << " columns, element " << i;
  }
}

TEST(EmbeddingTest, EveryKernelEqualsTheFormula) {
  uint32_t seed = 0;
  for (const EmbeddingKernel* kernel : EmbeddingKernels()) {
    if (!kernel->available()) continue;
    for (const int columns : kAwkwardColumns) {
      for (int num_bits = 1; num_bits <= 8; ++num_bits, ++seed) {
        const uint64_t rows = 1 + seed % 7;
        const Table table(rows, columns, num_bits, seed % 2 ? rows : 1, seed);
        std::vector<int32_t> indices = {0, static_cast<int32_t>(rows) - 1};
        for (uint64_t i = 0; i < seed % 5; ++i) {
          indices.push_back(static_cast<int32_t>(i % rows));
        }
        ExpectRows(Embedding(table.view(), *kernel), table, indices,
                   seed % 3 ? Guard::kAfter : Guard::kBefore);
      }
    }
  }
}

TEST(EmbeddingTest, BlocksHaveTheirOwnScales) {
  for (const EmbeddingKernel* kernel : EmbeddingKernels()) {
    if (!kernel->available()) continue;
    for (const uint64_t block : {2, 5, 8, 30}) {
      const Table table(4, 120, 3, 4 * 120 / block, 9);
      ExpectRows(Embedding(table.view(), *kernel), table, {3, 0, 2, 2},
                 Guard::kAfter);
    }
  }
}

TEST(EmbeddingTest, NoIndices) {
  const Table table(2, 3, 4, 1, 1);
  Embedding(table.view()).Gather(nullptr, 0, nullptr);
}

TEST(EmbeddingTest, StaysPacked) {
  for (int num_bits = 1; num_bits <= 8; ++num_bits) {
    const Table table(100, 33, num_bits, 1, 2);
    EXPECT_LE(Embedding(table.view()).WeightBytes(),
              3300u * num_bits / 8 + 1 + kTableTail + 4 * (1u << num_bits) + 4);
  }
}

TEST(EmbeddingTest, NamesItsKernel) {
  const Table table(2, 3, 4, 1, 1);
  EXPECT_STREQ(Embedding(table.view(), true).KernelName(), "embedding_ref");
#ifdef TFC_X86_64
  if (__builtin_cpu_supports("avx2")) {
    EXPECT_STREQ(Embedding(table.view()).KernelName(), "embedding_avx2");
  }
#endif
}

}  // namespace
}  // namespace tfc

// The coders of symbols against slow ones, through the C functions.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "format/c_api.h"
#include "section_writer.h"

namespace tfc {
namespace {

using testing::CodeBits;
using testing::CodeRans;
using Symbols = std::vector<uint8_t>;

struct Case {
  int coder, num_bits, alphabet, zero;
  uint64_t row;
  int zeros;
  uint64_t a, b;
};

constexpr uint64_t kCounts[] = {1,  2,   31,  32,   33,   63,  64,
                                65, 127, 128, 4095, 4096, 4097};

// What the C functions say, or "".
std::string Encode(const Case& c, const Symbols& symbols, Symbols* section,
                   size_t capacity = 1 << 20) {
  section->assign(capacity, 77);
  char error[300] = "";
  const int64_t size = tfc_encode_symbols(
      c.coder, symbols.data(), symbols.size(), c.num_bits, c.alphabet, c.zero,
      c.row, c.zeros, c.a, c.b, section->data(), capacity, error, 300);
  EXPECT_EQ(size < 0, error[0] != 0);
  section->resize(size < 0 ? 0 : size_t(size));
  section->shrink_to_fit();
  return error;
}

std::string Decode(const Case& c, const Symbols& section, Symbols* symbols) {
  char error[300] = "";
  const int failed = tfc_decode_symbols(
      c.coder, section.data(), section.size(), symbols->data(), symbols->size(),
      c.num_bits, c.alphabet, c.zero, c.row, c.zeros, c.a, c.b, error, 300);
  EXPECT_EQ(failed != 0, error[0] != 0);
  return error;
}

Symbols RandomSymbols(uint64_t count, int alphabet, int zero, double sparsity,
                      uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(alphabet / 2., alphabet / 6. + 0.1);
  std::bernoulli_distribution sparse(sparsity);
  Symbols symbols;
  for (uint64_t i = 0; i < count; ++i) {
    const double value = std::clamp(normal(random), 0., alphabet - 1.);
    symbols.push_back(uint8_t(zero >= 0 && sparse(random) ? zero : int(value)));
  }
  return symbols;
}

void ExpectSame(const Case& c, const Symbols& symbols, const Symbols& slow) {
  Symbols section, decoded(symbols.size(), 99);
  ASSERT_EQ(Encode(c, symbols, &section), "");
  EXPECT_EQ(section, slow) << symbols.size() << " symbols of " << c.num_bits;
  ASSERT_EQ(Decode(c, section, &decoded), "");
  EXPECT_EQ(decoded, symbols);
}

TEST(SymbolsTest, BitsAreTheSlowOnes) {
  for (const uint64_t count : kCounts) {
    for (int num_bits = 1; num_bits <= 8; ++num_bits) {
      for (const int zero : {-1, 0, (1 << num_bits) - 1, 1 << (num_bits - 1)}) {
        for (const double sparsity : {0., 0.6, 0.99, 1.}) {
          const Symbols symbols = RandomSymbols(count, 1 << num_bits, zero,
                                                sparsity, uint32_t(count));
          for (const uint64_t row : {uint64_t{1}, uint64_t{7}, count}) {
            for (const int coder : {1, 3}) {
              const Case c{coder, num_bits, 1 << num_bits, zero, row, 0, 0, 0};
              ExpectSame(
                  c, symbols,
                  CodeBits(coder, symbols, num_bits, zero, row, 0, 0, 0));
            }
          }
        }
      }
    }
  }
}

TEST(SymbolsTest, BlocksAndGroupsOfBits) {
  for (const uint64_t rows : {1, 2, 5, 130}) {
    for (const double sparsity : {0.3, 0.9, 0.999, 1.}) {
      const Symbols full = RandomSymbols(rows * 96, 16, 8, sparsity, 3);
      for (const uint64_t a : {1, 2, 3, 16, 96}) {
        for (const int coder : {1, 3}) {
          const Case c{coder, 4, 16, 8, 96, 3, a, 0};
          ExpectSame(c, full, CodeBits(coder, full, 4, 8, 96, 3, a, 0));
        }
      }
      for (const uint64_t b : {4, 8, 16, 32}) {
        const uint64_t a = b / 2;
        Symbols kept = full;
        for (uint64_t i = 0; i < kept.size(); ++i) {
          if (i % b >= a) kept[i] = 8;
        }
        for (const int coder : {1, 3}) {
          const Case c{coder, 4, 16, 8, 96, 4, a, b};
          ExpectSame(c, kept, CodeBits(coder, kept, 4, 8, 96, 4, a, b));
        }
      }
    }
  }
}

TEST(SymbolsTest, MoreBitsThanTheSteadyCoderRemembers) {
  const Symbols symbols = RandomSymbols(40'000, 4, 2, 0.998, 7);
  const Case c{3, 2, 4, 2, 200, 0, 0, 0};
  ExpectSame(c, symbols, CodeBits(3, symbols, 2, 2, 200, 0, 0, 0));
}

TEST(SymbolsTest, RansIsTheSlowOne) {
  for (const uint64_t count : kCounts) {
    for (const int alphabet : {1, 2, 3, 15, 16, 200, 256}) {
      for (const double sparsity : {0., 0.9, 0.9999, 1.}) {
        const Symbols values =
            RandomSymbols(count, alphabet, alphabet / 3, sparsity, 5);
        const Case c{2, 8, alphabet, -1, 1, 0, 0, 0};
        ExpectSame(c, values, CodeRans(values, alphabet));
      }
    }
  }
}

TEST(SymbolsTest, NoSymbols) {
  Symbols section, none;
  for (const int coder : {1, 2, 3}) {
    const Case c{coder, 4, 16, 8, 1, 0, 0, 0};
    EXPECT_EQ(Encode(c, none, &section), "");
    EXPECT_TRUE(section.empty());
    EXPECT_EQ(Decode(c, section, &none), "");
  }
  EXPECT_NE(Decode({2, 4, 16, 8, 1, 0, 0, 0}, {1}, &none), "");
}

TEST(SymbolsTest, ArgumentsThatContradictEachOther) {
  const Symbols symbols(96, 3);
  Symbols section;
  for (const Case& c :
       {Case{0, 4, 16, 8, 96, 0, 0, 0}, Case{4, 4, 16, 8, 96, 0, 0, 0},
        Case{1, 0, 1, 0, 96, 0, 0, 0}, Case{1, 9, 16, 8, 96, 0, 0, 0},
        Case{1, 4, 17, 8, 96, 0, 0, 0}, Case{1, 4, 0, -1, 96, 0, 0, 0},
        Case{1, 4, 16, 16, 96, 0, 0, 0}, Case{1, 4, 16, -2, 96, 0, 0, 0},
        Case{1, 4, 16, 8, 0, 0, 0, 0}, Case{1, 4, 16, 8, 96, 1, 0, 0},
        Case{1, 4, 16, 8, 96, 2, 2, 2}, Case{1, 4, 16, 8, 96, 5, 2, 2},
        Case{1, 4, 16, -1, 96, 3, 2, 0}, Case{1, 4, 16, 8, 96, 3, 0, 0},
        Case{1, 4, 16, 8, 96, 3, 5, 0}, Case{1, 4, 16, 8, 96, 4, 0, 4},
        Case{1, 4, 16, 8, 96, 4, 4, 4}, Case{1, 4, 16, 8, 96, 4, 2, 64},
        Case{1, 4, 16, 8, 64, 3, 64, 0},
        // Symbols of 3 are not in an alphabet of 3, and no group is of 2.
        Case{1, 4, 3, 1, 96, 0, 0, 0}, Case{2, 4, 3, 1, 96, 0, 0, 0},
        Case{1, 4, 16, 8, 96, 4, 2, 4}}) {
    EXPECT_NE(Encode(c, symbols, &section), "")
        << c.coder << " " << c.num_bits << " " << c.zeros << " " << c.a;
  }
  const Case good{2, 4, 16, -1, 96, 0, 0, 0};
  EXPECT_NE(Encode(good, symbols, &section, 10).find("fit"), std::string::npos);
}

TEST(SymbolsTest, AdaptiveSectionsThatNoEncoderWrites) {
  const Case c{1, 4, 16, -1, 8, 0, 0, 0};
  Symbols symbols(640);
  const auto refusal = [&](const Symbols& section) {
    return Decode(c, section, &symbols);
  };
  EXPECT_EQ(refusal({}), "");
  EXPECT_NE(refusal({0}).find("zero byte"), std::string::npos);
  EXPECT_NE(refusal({5, 0}).find("zero byte"), std::string::npos);
  EXPECT_NE(refusal({255, 255, 255, 255}).find("255"), std::string::npos);
  EXPECT_NE(refusal({255, 255, 255, 255, 1}).find("255"), std::string::npos);
  // 640 symbols take more than one byte and 20 zeros.
  EXPECT_NE(refusal({200}).find("bytes for its symbols"), std::string::npos);
  // A block that is written and has no nonzero symbol.
  const Case blocks{1, 4, 16, 8, 8, 3, 8, 0};
  Symbols few(8);
  EXPECT_NE(Decode(blocks, {128}, &few).find("block"), std::string::npos);
}

TEST(SymbolsTest, RansSectionsThatNoEncoderWrites) {
  const Case c{2, 2, 4, -1, 1, 0, 0, 0};
  Symbols symbols = RandomSymbols(500, 4, -1, 0, 1), section, out(500);
  ASSERT_EQ(Encode(c, symbols, &section), "");
  const auto refusal = [&](Symbols changed) {
    return Decode(c, changed, &out);
  };
  Symbols longer = section, shorter(section.begin(), section.end() - 2);
  longer.insert(longer.end(), {0, 0});
  EXPECT_NE(refusal(longer).find("further"), std::string::npos);
  EXPECT_NE(refusal(shorter).find("every word"), std::string::npos);
  longer.pop_back();
  EXPECT_NE(refusal(longer).find("even"), std::string::npos);
  Symbols flipped = section;
  flipped.back() ^= 1;
  EXPECT_NE(refusal(flipped), "");
  EXPECT_NE(refusal({}).find("uvarint"), std::string::npos);
  EXPECT_NE(refusal({0x80, 0x20, 0, 0, 0}).find("states"), std::string::npos);
  EXPECT_NE(refusal({0x80, 0x20, 1, 0, 0}).find("4096"), std::string::npos);
  EXPECT_NE(refusal({0x81, 0, 0, 0, 0}).find("uvarint"), std::string::npos);
  EXPECT_NE(refusal({1, 0, 0, 0}).find("4096"), std::string::npos);
  Symbols low = {0x80, 0x20, 0, 0, 0};
  low.resize(low.size() + 128);
  EXPECT_NE(refusal(low).find("65536"), std::string::npos);
  for (size_t i = 5; i < low.size(); i += 4) low[i + 2] = 1;
  EXPECT_EQ(refusal(low), "");  // 500 times the first symbol
  EXPECT_EQ(out, Symbols(500));
  low[5] = 1;
  EXPECT_NE(refusal(low).find("end as"), std::string::npos);
}

}  // namespace
}  // namespace tfc

// Sections that no writer makes, in each form of zeros.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "format/adaptive.h"
#include "format/codes.h"
#include "format/error.h"
#include "payload_writer.h"
#include "section_writer.h"

namespace tfc {
namespace {

using testing::Form;
using testing::PackFields;
using testing::RandomWeight;
using testing::Weight;
using testing::WriteSections;

// The message for a payload of 2 x 8 codes of 4 bits, whose zero is 8; "" for
// none.
std::string Refusal(const Form& form, const std::vector<uint32_t>& side,
                    int side_bits, const std::vector<uint32_t>& values) {
  const Weight weight = RandomWeight({2, 8}, 1, 4, 0, 1);
  const auto bytes = WriteSections(weight, form, PackFields(side, side_bits),
                                   PackFields(values, 4));
  try {
    DecodeSymbols(ParsePayload(bytes.data(), bytes.size()));
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

bool Has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

TEST(ZerosTest, Bitmap) {
  const Form form{0, 1, 0, 0};
  EXPECT_EQ(Refusal(form, {0x8001}, 16, {9, 7}), "");
  EXPECT_TRUE(Has(Refusal(form, {0x8001}, 16, {9, 8}), "nonzero"));
  EXPECT_TRUE(Has(Refusal(form, {0x8001}, 16, {9, 7, 7}), "codes_size"));
  EXPECT_TRUE(Has(Refusal(form, {0x8001}, 24, {9, 7}), "side_size"));
}

TEST(ZerosTest, RunLength) {
  const auto form = [](uint64_t entries) { return Form{0, 2, 2, entries}; };
  EXPECT_EQ(Refusal(form(0), {}, 2, {}), "");
  EXPECT_EQ(Refusal(form(7), {3, 3, 3, 3, 2, 0, 0}, 2, {9, 9, 9}),
            "a run-length form must stay within its symbols. Received: "
            "symbols=16, position=17.");
  EXPECT_EQ(Refusal(form(6), {3, 3, 3, 3, 2, 0}, 2, {9, 9}), "");
  EXPECT_TRUE(Has(Refusal(form(6), {3, 3, 3, 3, 2, 0}, 2, {9, 8}), "nonzero"));
  EXPECT_TRUE(Has(Refusal(form(2), {1, 3}, 2, {9}), "end in zeros"));
  EXPECT_TRUE(Has(Refusal(form(1), {1, 1}, 2, {9}), "unused"));
  EXPECT_TRUE(Has(Refusal(form(17), {}, 2, {}), "zeros_b"));
  // 2^61 entries of 8 bits are 2^64 bits.
  EXPECT_TRUE(Has(Refusal({0, 2, 8, uint64_t{1} << 61}, {}, 8, {}), "zeros_b"));
  EXPECT_TRUE(Has(Refusal({0, 2, 0, 0}, {}, 2, {}), "zeros_a"));
  EXPECT_TRUE(Has(Refusal({0, 2, 9, 0}, {}, 2, {}), "zeros_a"));
}

TEST(ZerosTest, Blocks) {
  EXPECT_EQ(Refusal({0, 3, 4, 0}, {0, 1, 0, 0}, 1, {8, 8, 8, 9}), "");
  EXPECT_TRUE(Has(Refusal({0, 3, 4, 0}, {0, 1, 0, 0}, 1, {8, 8, 8, 8}),
                  "a nonzero symbol"));
  EXPECT_TRUE(
      Has(Refusal({0, 3, 4, 0}, {0, 1, 0, 0, 1}, 1, {8, 8, 8, 9}), "unused"));
  for (const Form& form :
       {Form{0, 3, 1, 0}, Form{0, 3, 3, 0}, Form{0, 3, 16, 0}, Form{0, 3, 4, 1},
        Form{0, 3, 0, 0}}) {
    EXPECT_TRUE(Has(Refusal(form, {}, 1, {}), "zeros_a"));
  }
}

TEST(ZerosTest, Groups) {
  const auto refusal = [](std::vector<uint32_t> first,
                          std::vector<uint32_t> values) {
    std::vector<uint32_t> side = {0, 1, 0, 1, 0, 1};
    side.insert(side.begin(), first.begin(), first.end());
    values.insert(values.end(), 6, 9);
    return Refusal({0, 4, 2, 4}, side, 2, values);
  };
  EXPECT_EQ(refusal({1, 3}, {9, 9}), "");
  EXPECT_TRUE(Has(refusal({3, 1}, {9, 9}), "ascend"));
  EXPECT_TRUE(Has(refusal({1, 1}, {9, 9}), "ascend"));
  EXPECT_EQ(refusal({0, 3}, {8, 9}), "");
  EXPECT_TRUE(Has(refusal({1, 3}, {8, 9}), "first zeros"));
  EXPECT_TRUE(Has(refusal({0, 2}, {8, 8}), "first zeros"));
  EXPECT_EQ(refusal({0, 1}, {8, 8}), "");
  for (const Form& form : {Form{0, 4, 0, 4}, Form{0, 4, 4, 4}, Form{0, 4, 2, 2},
                           Form{0, 4, 2, 16}, Form{0, 4, 3, 6}}) {
    EXPECT_TRUE(Has(Refusal(form, {}, 1, {}), "zeros_b"));
  }
  // 3 of 8 have 9 bits a group, so that 18 of 24 are used.
  EXPECT_EQ(Refusal({0, 4, 3, 8}, {0, 1, 2, 5, 6, 7}, 3, {9, 9, 9, 9, 9, 9}),
            "");
  EXPECT_TRUE(
      Has(Refusal({0, 4, 3, 8}, {0, 1, 2, 5, 6, 7, 2}, 3, {9, 9, 9, 9, 9, 9}),
          "unused"));
}

TEST(ZerosTest, NoneWithoutAZeroSymbol) {
  const Weight weight = RandomWeight({2, 8}, 4, 1, 0, 1);
  for (const Form& form : {Form{0, 1, 0, 0}, Form{1, 3, 4, 0}}) {
    const auto bytes = WriteSections(
        weight, form, std::vector<uint8_t>(form.coder == 0 ? 2 : 0), {});
    EXPECT_THROW(ParsePayload(bytes.data(), bytes.size()), Error);
  }
}

// How many zeros past the end a decoder of bits has to read while its code is
// not 0, by the words of the format.
int ZerosRead(const std::vector<uint8_t>& section, uint64_t count) {
  uint64_t code = 0, range = 0xFFFFFFFFu;
  uint32_t p = 32768, k = 0;
  size_t at = 0;
  int zeros = 0;
  const auto next = [&] {
    if (at >= section.size() && code != 0) ++zeros;
    return at < section.size() ? section[at++] : 0;
  };
  for (int i = 0; i < 4; ++i) code = code << 8 | next();
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t bound = (range >> 12) * std::clamp(p >> 4, 1u, 4095u);
    const uint32_t rate = 131072 / (2 * k + 3);
    if (code >= bound) {
      code -= bound;
      range -= bound;
      p -= p * rate >> 16;
    } else {
      range = bound;
      p += (65536 - p) * rate >> 16;
    }
    k = std::min(k + 1, 255u);
    for (; range < 1 << 24; range <<= 8) code = code << 8 | next();
  }
  return zeros;
}

TEST(AdaptiveTest, TheTwentyFirstZeroIsOneTooMany) {
  int refused = 0, accepted = 0;
  for (const uint8_t byte : {77, 128, 200}) {
    for (uint64_t count = 100; count < 400; ++count) {
      const SymbolLayout layout{count, 1, 2, -1, 1, Zeros::kDense, 0, 0};
      std::vector<uint8_t> symbols(count);
      bool refuses = false;
      try {
        DecodeAdaptive(layout, Memory::kAdaptive, &byte, 1, symbols.data());
      } catch (const Error&) {
        refuses = true;
      }
      EXPECT_EQ(refuses, ZerosRead({byte}, count) > 20) << count;
      ++(refuses ? refused : accepted);
    }
  }
  EXPECT_GT(refused, 10);
  EXPECT_GT(accepted, 10);
}

}  // namespace
}  // namespace tfc

#include "format/payload.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "format/codes.h"
#include "format/crc32c.h"
#include "format/error.h"
#include "format/weights.h"
#include "payload_writer.h"

namespace tfc {
namespace {

using testing::Form;
using testing::FormsOf;
using testing::RandomWeight;
using testing::Reseal;
using testing::Weight;
using testing::WritePayload;
using testing::WriteSections;

constexpr Form kPlain{0, 0, 0, 0}, kAdaptive{1, 0, 0, 0}, kRans{2, 0, 0, 0};

// The message of the refusal, or "" for none.
std::string Refusal(const std::vector<uint8_t>& bytes) {
  try {
    const Payload payload = ParsePayload(bytes.data(), bytes.size());
    std::vector<uint8_t> tensor(TensorBytes(payload));
    DecodeTensor(payload, tensor.data());
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

bool Has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// Of a payload of the bytes that `change` leaves, with a right checksum.
template <typename Change>
std::string RefusalAfter(const Weight& weight, const Form& form,
                         Change change) {
  std::vector<uint8_t> bytes = WritePayload(weight, form);
  change(bytes);
  Reseal(bytes);
  return Refusal(bytes);
}

void ExpectRoundTrip(const Weight& weight) {
  for (const Form& form : FormsOf(weight)) {
    const auto bytes = WritePayload(weight, form);
    const Payload payload = ParsePayload(bytes.data(), bytes.size());
    EXPECT_EQ(payload.dims, weight.dims);
    EXPECT_EQ(payload.block, weight.block);
    EXPECT_EQ(payload.channel_axis + 2, std::max<int>(1, weight.granularity));
    EXPECT_EQ(payload.scales, weight.scales);
    EXPECT_EQ(payload.bias, weight.bias);
    EXPECT_EQ(payload.ZeroSymbol(), weight.ZeroSymbol());
    EXPECT_EQ(payload.Alphabet(), weight.Alphabet());
    EXPECT_EQ(DecodeSymbols(payload), weight.symbols);
    std::vector<float> floats(payload.num_codes);
    DecodeWeights(payload, floats.data());
    EXPECT_EQ(floats, weight.Floats())
        << "encoding " << int(weight.encoding) << ", " << int(weight.num_bits)
        << " bits, coder " << form.coder << ", zeros " << form.zeros << " "
        << form.a << " " << form.b;
  }
}

TEST(Crc32cTest, CheckValues) {
  const auto* digits = reinterpret_cast<const uint8_t*>("123456789");
  EXPECT_EQ(Crc32c(digits, 9), 0xE3069283u);
  const std::vector<uint8_t> zeros(32);  // RFC 3720, B.4
  EXPECT_EQ(Crc32c(zeros.data(), 32), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(zeros.data(), 0), 0u);
}

TEST(PayloadTest, EveryEncodingCoderFormAndScale) {
  constexpr struct {
    int encoding, narrowest, widest;
  } kEncodings[] = {{1, 2, 8}, {2, 1, 8}, {3, 2, 2},
                    {4, 1, 1}, {5, 3, 6}, {6, 9, 32}};
  for (const auto& [encoding, narrowest, widest] : kEncodings) {
    for (int num_bits = narrowest; num_bits <= widest; ++num_bits) {
      const uint32_t seed = uint32_t(num_bits);
      for (uint64_t granularity = 0; granularity <= 4; ++granularity) {
        if (encoding == 6 && granularity > 0) break;
        ExpectRoundTrip(
            RandomWeight({5, 3, 32}, encoding, num_bits, granularity, seed));
      }
      ExpectRoundTrip(RandomWeight({7}, encoding, num_bits, 0, seed));
      if (encoding == 6) continue;
      ExpectRoundTrip(RandomWeight({3, 8}, encoding, num_bits, 2, seed, true));
    }
  }
}

TEST(PayloadTest, NothingButZeros) {
  for (const int encoding : {1, 2, 3, 5, 6}) {
    Weight weight =
        RandomWeight({4, 32}, encoding, encoding == 6 ? 20 : 3, 0, 1);
    if (encoding == 3) weight.num_bits = 2;
    weight.symbols.assign(128, uint8_t(weight.ZeroSymbol()));
    weight.raw.clear();
    ExpectRoundTrip(weight);
    weight.symbols[77] ^= 1;
    if (encoding == 6) weight.raw = {77};
    ExpectRoundTrip(weight);
  }
}

TEST(PayloadTest, LongSections) {
  // Long enough for carries, for probabilities at their limits and for whole
  // steps of rANS.
  for (const int num_bits : {4, 8}) {
    Weight weight = RandomWeight({64, 800}, 1, num_bits, 2, 3);
    for (const Form& form : {kPlain, kAdaptive, kRans}) {
      EXPECT_EQ(Refusal(WritePayload(weight, form)), "");
    }
    std::fill(weight.symbols.begin(), weight.symbols.end() - 1,
              uint8_t(weight.ZeroSymbol()));
    ExpectRoundTrip(weight);
  }
}

TEST(PayloadTest, FewBytesForManyZeros) {
  // Decoding these takes no time for each weight. Six bytes for each must fit
  // into half of the memory.
  Weight weight = RandomWeight({1, 1}, 1, 4, 0, 1);
  weight.dims = {1 << 14, 1 << 13};
  for (const Form& form :
       {kAdaptive, Form{1, 3, 2, 0}, Form{1, 4, 1, 4}, Form{2, 2, 1, 0}}) {
    const auto bytes = WriteSections(weight, form, {}, {});
    EXPECT_EQ(Refusal(bytes), "") << form.zeros;
  }
  weight.dims = {1 << 20, 1 << 19};
  EXPECT_TRUE(Has(Refusal(WriteSections(weight, kAdaptive, {}, {})), "memory"));
}

TEST(PayloadTest, AnyOffsetInMemory) {
  const Weight weight = RandomWeight({6, 12}, 2, 3, 2, 9);
  for (const Form& form : FormsOf(weight)) {
    const auto bytes = WritePayload(weight, form);
    for (size_t offset = 0; offset < 8; ++offset) {
      const auto moved = std::make_unique<uint8_t[]>(bytes.size() + offset);
      std::memcpy(moved.get() + offset, bytes.data(), bytes.size());
      const Payload payload = ParsePayload(moved.get() + offset, bytes.size());
      EXPECT_EQ(DecodeSymbols(payload), weight.symbols);
    }
  }
}

TEST(PayloadTest, FieldsThatContradictEachOther) {
  // Offsets: 8 version, 9 encoding, 10 num_bits, 11 form, 12 length, 13 rank,
  // 14 and 15 dims, 16 granularity, 17 block, 18 codebook_size, 19 bias_size,
  // 20 side_size, 21 codes_size, 22 scale, 26 codes, 29 padding.
  const Weight weight = RandomWeight({2, 3}, 1, 4, 1, 1);
  const auto with = [&](size_t offset, uint8_t value) {
    return RefusalAfter(weight, kPlain, [&](std::vector<uint8_t>& bytes) {
      bytes[offset] = value;
    });
  };
  EXPECT_EQ(with(8, 1), "");
  EXPECT_TRUE(Has(with(8, 2), "version"));
  EXPECT_TRUE(Has(with(8, 2), "later"));
  for (const uint8_t encoding : {0, 7}) {
    EXPECT_TRUE(Has(with(9, encoding), "encoding"));
  }
  EXPECT_TRUE(Has(with(9, 2), "codebook_size"));
  EXPECT_TRUE(Has(with(9, 3), "num_bits"));
  EXPECT_TRUE(Has(with(10, 9), "num_bits"));
  EXPECT_TRUE(Has(with(10, 1), "num_bits"));
  EXPECT_TRUE(Has(with(11, 5 << 2), "form"));
  EXPECT_TRUE(Has(with(11, 128), "form"));
  EXPECT_TRUE(Has(with(11, 1 | 1 << 2), "a coder of bits must go with"));
  EXPECT_TRUE(Has(with(11, 3 | 2 << 2), "a coder of bits must go with"));
  EXPECT_TRUE(Has(with(11, 1 << 2), "side_size"));
  EXPECT_TRUE(Has(with(11, 1 << 5), "granularity"));
  EXPECT_TRUE(Has(with(11, 3 << 5), "exact"));
  EXPECT_TRUE(Has(with(12, 8), "length"));
  EXPECT_TRUE(Has(with(13, 0), "rank"));
  EXPECT_TRUE(Has(with(13, 9), "rank"));
  EXPECT_TRUE(Has(with(14, 0), "dims"));
  EXPECT_TRUE(Has(with(14, 3), "codes_size"));
  EXPECT_TRUE(Has(with(16, 4), "granularity"));
  EXPECT_TRUE(Has(with(16, 3), "must"));
  EXPECT_TRUE(Has(with(17, 2), "block"));
  EXPECT_TRUE(Has(with(18, 1), "codebook_size"));
  EXPECT_TRUE(Has(with(19, 1), "bias_size"));
  EXPECT_TRUE(Has(with(19, 2), "bias"));
  EXPECT_TRUE(Has(with(20, 1), "side_size"));
  EXPECT_TRUE(Has(with(21, 2), "padding"));
  EXPECT_TRUE(Has(with(21, 100), "codes section"));
  EXPECT_TRUE(Has(with(25, 0x7f), "scales"));  // infinite
  EXPECT_TRUE(Has(with(29, 1), "padding"));
}

TEST(PayloadTest, DimsWhoseProductOverflows) {
  Weight weight = RandomWeight({1}, 1, 4, 0, 1);
  for (const auto& dims :
       {std::vector<uint64_t>{uint64_t{1} << 32, uint64_t{1} << 32},
        std::vector<uint64_t>{uint64_t{1} << 40},
        std::vector<uint64_t>{(uint64_t{1} << 63) - 1, 3},
        std::vector<uint64_t>(8, uint64_t{1} << 8)}) {
    weight.dims = dims;
    EXPECT_TRUE(Has(Refusal(WriteSections(weight, kPlain, {}, {})), "dims"));
  }
}

TEST(PayloadTest, ScalesByBlock) {
  Weight weight = RandomWeight({2, 8}, 1, 4, 2, 1, true);
  EXPECT_EQ(Refusal(WritePayload(weight, kPlain)), "");
  for (const uint64_t block : {1, 3, 8, 16}) {
    weight.block = block;
    EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "block"));
  }
  weight.block = 4;
  weight.granularity = 3;
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "block"));
}

TEST(PayloadTest, NumbersThatAreNone) {
  Weight weight = RandomWeight({2, 3}, 2, 2, 1, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float scale : {nan, inf, 0.f, -0.f}) {
    weight.scales = {scale};
    EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "scales"));
  }
  weight.scales = {-1};
  EXPECT_EQ(Refusal(WritePayload(weight, kPlain)), "");
  weight.scales = {1};
  for (const auto& codebook :
       {std::vector<float>{0, 1, 1, 2}, std::vector<float>{-1, -0.f, 1, 2},
        std::vector<float>{0, 1, 2, inf}, std::vector<float>{nan, 1, 2, 3}}) {
    weight.codebook = codebook;
    EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "codebook"));
  }
}

TEST(PayloadTest, CodesThatNoEncoderWrites) {
  Weight weight = RandomWeight({3, 1}, 2, 2, 1, 1);
  weight.symbols = {0, 3, 1};
  weight.codebook.resize(3);
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "symbols"));
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kAdaptive)), "alphabet"));
  // Three codes of two bits leave two unused bits at the end.
  weight.symbols = {0, 2, 1};
  const auto codes = std::vector<uint8_t>{0b01'10'00 | 64};
  EXPECT_TRUE(Has(Refusal(WriteSections(weight, kPlain, {}, codes)), "unused"));
}

TEST(PayloadTest, NumbersMustBeShortest) {
  const Weight weight = RandomWeight({2, 3}, 1, 4, 1, 1);
  const auto grown = [&](std::vector<uint8_t> rank) {
    return RefusalAfter(weight, kPlain, [&](std::vector<uint8_t>& bytes) {
      bytes.erase(bytes.begin() + 13);
      bytes.insert(bytes.begin() + 13, rank.begin(), rank.end());
      bytes.resize((bytes.size() + 3) / 4 * 4);
      bytes[12] = uint8_t(bytes.size());
    });
  };
  EXPECT_EQ(grown({2}), "");
  EXPECT_TRUE(Has(grown({0x82, 0}), "LEB128"));
  EXPECT_TRUE(Has(grown(std::vector<uint8_t>(11, 0xFF)), "LEB128"));
}

}  // namespace
}  // namespace tfc

#include "format/payload.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "format/c_api.h"
#include "format/codes.h"
#include "format/crc32c.h"
#include "format/error.h"
#include "payload_writer.h"

namespace tfc {
namespace {

using testing::RandomWeight;
using testing::Reseal;
using testing::Weight;
using testing::WritePayload;

// The message of the refusal, or "" for none.
std::string Refusal(const std::vector<uint8_t>& bytes) {
  try {
    const Payload payload = ParsePayload(bytes.data(), bytes.size());
    DecodeSymbols(payload);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Crc32cTest, CheckValues) {
  const auto* digits = reinterpret_cast<const uint8_t*>("123456789");
  EXPECT_EQ(Crc32c(digits, 9), 0xE3069283u);
  const std::vector<uint8_t> zeros(32);  // RFC 3720, B.4
  EXPECT_EQ(Crc32c(zeros.data(), 32), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(zeros.data(), 0), 0u);
}

TEST(PayloadTest, RoundTripOfEveryWidth) {
  for (const bool palette : {false, true}) {
    for (int num_bits = palette ? 1 : 2; num_bits <= 8; ++num_bits) {
      for (const bool coded : {false, true}) {
        for (int axis = -1; axis < 3; ++axis) {
          const Weight weight =
              RandomWeight({5, 3, 7}, num_bits, palette, axis, num_bits);
          const auto bytes = WritePayload(weight, coded);
          const Payload payload = ParsePayload(bytes.data(), bytes.size());
          EXPECT_EQ(payload.dims, weight.dims);
          EXPECT_EQ(payload.channel_axis, axis);
          EXPECT_EQ(payload.entropy_coded, coded);
          EXPECT_EQ(DecodeSymbols(payload), weight.symbols)
              << num_bits << palette << coded << axis;
          std::vector<float> floats(payload.num_codes);
          DecodeWeights(payload, floats.data());
          EXPECT_EQ(floats, weight.Floats());
        }
      }
    }
  }
}

TEST(PayloadTest, LongEntropyCodedSections) {
  // Long enough for carries and for probabilities at their limits.
  Weight weight = RandomWeight({64, 800}, 4, false, 0, 3);
  EXPECT_EQ(Refusal(WritePayload(weight, true)), "");
  std::fill(weight.symbols.begin(), weight.symbols.end() - 1, 8);
  const auto sparse = WritePayload(weight, true);
  EXPECT_EQ(DecodeSymbols(ParsePayload(sparse.data(), sparse.size())),
            weight.symbols);
  std::fill(weight.symbols.begin(), weight.symbols.end(), 8);
  const auto empty = WritePayload(weight, true);
  const Payload payload = ParsePayload(empty.data(), empty.size());
  EXPECT_EQ(payload.codes_size, 0u);
  EXPECT_EQ(DecodeSymbols(payload), weight.symbols);
}

TEST(PayloadTest, PaletteWithoutZero) {
  Weight weight = RandomWeight({4, 9}, 2, true, -1, 0);
  weight.codebook = {-2, -1, 1.5, 3};
  for (size_t i = 0; i < weight.symbols.size(); ++i) weight.symbols[i] = i % 4;
  for (const bool coded : {false, true}) {
    const auto bytes = WritePayload(weight, coded);
    const Payload payload = ParsePayload(bytes.data(), bytes.size());
    EXPECT_EQ(payload.ZeroSymbol(), kNoZeroSymbol);
    EXPECT_EQ(DecodeSymbols(payload), weight.symbols);
  }
}

TEST(PayloadTest, AnyOffsetInMemory) {
  const Weight weight = RandomWeight({6, 11}, 3, true, 0, 9);
  const auto bytes = WritePayload(weight, true);
  for (size_t offset = 0; offset < 8; ++offset) {
    const auto moved = std::make_unique<uint8_t[]>(bytes.size() + offset);
    std::memcpy(moved.get() + offset, bytes.data(), bytes.size());
    const Payload payload = ParsePayload(moved.get() + offset, bytes.size());
    EXPECT_EQ(DecodeSymbols(payload), weight.symbols);
  }
}

// A payload of the bytes that `change` leaves, with a right checksum.
template <typename Change>
std::string RefusalAfter(Weight weight, bool coded, Change change) {
  std::vector<uint8_t> bytes = WritePayload(weight, coded);
  change(bytes);
  Reseal(bytes);
  return Refusal(bytes);
}

TEST(PayloadTest, FieldsThatContradictEachOther) {
  // Offsets: 8 version, 9 encoding, 10 num_bits, 11 flags, 12 length, 13 rank,
  // 14 and 15 dims, 16 axis + 1, 17 codebook_size, 18 codes_size, 19 scales.
  const Weight weight = RandomWeight({2, 3}, 4, false, -1, 1);
  const auto with = [&](size_t offset, uint8_t value) {
    return RefusalAfter(weight, false, [&](std::vector<uint8_t>& bytes) {
      bytes[offset] = value;
    });
  };
  EXPECT_EQ(with(8, 1), "");
  EXPECT_NE(with(8, 2).find("version"), std::string::npos);
  EXPECT_NE(with(9, 3).find("encoding"), std::string::npos);
  EXPECT_NE(with(10, 9).find("num_bits"), std::string::npos);
  EXPECT_NE(with(10, 1).find("num_bits"), std::string::npos);
  EXPECT_NE(with(11, 2).find("flags"), std::string::npos);
  EXPECT_NE(with(12, 8).find("length"), std::string::npos);
  EXPECT_NE(with(13, 0).find("rank"), std::string::npos);
  EXPECT_NE(with(13, 9).find("rank"), std::string::npos);
  EXPECT_NE(with(14, 0).find("dims"), std::string::npos);
  EXPECT_NE(with(14, 3).find("codes_size"), std::string::npos);
  EXPECT_NE(with(16, 3).find("channel axis"), std::string::npos);
  EXPECT_NE(with(16, 2).find("must"), std::string::npos);
  EXPECT_NE(with(17, 1).find("codebook_size"), std::string::npos);
  EXPECT_NE(with(18, 2).find("codes_size"), std::string::npos);
  EXPECT_NE(with(18, 255).find("codes_size"), std::string::npos);
  EXPECT_NE(with(22, 0x80).find("scales"), std::string::npos);  // negative
  EXPECT_NE(with(26, 1).find("padding"), std::string::npos);
}

TEST(PayloadTest, NumbersThatAreNone) {
  Weight weight = RandomWeight({2, 3}, 2, true, -1, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float scale : {nan, inf, 0.f, -1.f}) {
    weight.scales = {scale};
    EXPECT_NE(Refusal(WritePayload(weight, false)).find("scales"),
              std::string::npos);
  }
  weight.scales = {1};
  for (const auto& codebook :
       {std::vector<float>{0, 1, 1, 2}, std::vector<float>{-1, -0.f, 1, 2},
        std::vector<float>{0, 1, 2, inf}, std::vector<float>{nan, 1, 2, 3}}) {
    weight.codebook = codebook;
    EXPECT_NE(Refusal(WritePayload(weight, false)).find("codebook"),
              std::string::npos);
  }
}

TEST(PayloadTest, CodesThatNoEncoderWrites) {
  Weight weight = RandomWeight({3, 1}, 2, true, -1, 1);
  weight.symbols = {0, 3, 1};
  weight.codebook.resize(3);
  for (const bool coded : {false, true}) {
    EXPECT_NE(Refusal(WritePayload(weight, coded)).find("codebook_size"),
              std::string::npos);
  }
  // Three codes of two bits leave two unused bits at the end.
  weight.symbols = {0, 2, 1};
  EXPECT_NE(RefusalAfter(weight, false,
                         [](std::vector<uint8_t>& bytes) {
                           bytes[bytes.size() - 1 - (bytes.back() == 0)] |= 64;
                         }),
            "");
  // The entropy-coded section of one zero is empty; the padding is not its own.
  const Weight zero = [] {
    Weight w = RandomWeight({1, 1}, 4, false, -1, 1);
    w.symbols = {8};
    return w;
  }();
  EXPECT_EQ(RefusalAfter(zero, true, [](std::vector<uint8_t>&) {}), "");
  for (const uint8_t last : {0, 1}) {
    EXPECT_NE(RefusalAfter(zero, true,
                           [&](std::vector<uint8_t>& bytes) {
                             bytes[18] = 4;  // codes_size
                             bytes[12] += 4;
                             bytes.resize(bytes.size() + 4);
                             bytes[26] = last;
                           })
                  .find("last code"),
              std::string::npos);
  }
}

TEST(PayloadTest, NumbersMustBeShortest) {
  const Weight weight = RandomWeight({2, 3}, 4, false, -1, 1);
  const auto grown = [&](std::vector<uint8_t> rank) {
    return RefusalAfter(weight, false, [&](std::vector<uint8_t>& bytes) {
      bytes.erase(bytes.begin() + 13);
      bytes.insert(bytes.begin() + 13, rank.begin(), rank.end());
      bytes.resize((bytes.size() + 3) / 4 * 4);
      bytes[12] = uint8_t(bytes.size());
    });
  };
  EXPECT_EQ(grown({2}), "");
  EXPECT_NE(grown({0x82, 0}).find("LEB128"), std::string::npos);
  EXPECT_NE(grown(std::vector<uint8_t>(11, 0xFF)).find("LEB128"),
            std::string::npos);
}

TEST(CApiTest, DecodesOrExplains) {
  const Weight weight = RandomWeight({4, 5}, 4, false, 0, 2);
  auto bytes = WritePayload(weight, true);
  std::vector<float> out(20);
  EXPECT_EQ(tfc_decode(bytes.data(), bytes.size(), out.data(), 20, nullptr, 0),
            0);
  EXPECT_EQ(out, weight.Floats());
  char error[200];
  EXPECT_EQ(tfc_decode(bytes.data(), bytes.size(), out.data(), 19, error, 200),
            1);
  EXPECT_STREQ(error,
               "count must be the number of codes in the payload. Received: "
               "count=19, codes=20.");
  bytes[20] ^= 1;
  char small[8];
  EXPECT_EQ(tfc_decode(bytes.data(), bytes.size(), out.data(), 20, small, 8),
            1);
  EXPECT_EQ(std::strlen(small), 7u);
  EXPECT_EQ(tfc_decode(bytes.data(), 0, out.data(), 20, nullptr, 0), 1);
  EXPECT_STREQ(tfc_version(), "0.1.0");
}

}  // namespace
}  // namespace tfc

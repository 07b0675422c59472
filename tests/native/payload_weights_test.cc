// Weights in the type of their tensor, and the C function that decodes them.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "format/c_api.h"
#include "format/error.h"
#include "format/weights.h"
#include "payload_writer.h"

namespace tfc {
namespace {

using testing::Form;
using testing::RandomWeight;
using testing::Weight;
using testing::WritePayload;

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

TEST(WeightsTest, WeightsThatOverflow) {
  Weight weight = RandomWeight({1, 4}, 1, 4, 1, 1);
  weight.scales = {1e38f};
  weight.symbols = {8, 9, 10, 7};
  EXPECT_EQ(Refusal(WritePayload(weight, kPlain)), "");
  weight.symbols[3] = 0;  // -8e38
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "finite"));
}

TEST(WeightsTest, TensorsOfEveryType) {
  const auto decoded = [](const Weight& weight) {
    const auto bytes = WritePayload(weight, kPlain);
    const Payload payload = ParsePayload(bytes.data(), bytes.size());
    std::vector<uint8_t> tensor(TensorBytes(payload));
    DecodeTensor(payload, tensor.data());
    return tensor;
  };
  Weight weight = RandomWeight({5}, 1, 5, 0, 1);
  weight.symbols = {8, 9, 16, 23, 17};  // -8, -7, 0, 7, 1
  weight.type = 1;
  EXPECT_EQ(decoded(weight), (std::vector<uint8_t>{248, 249, 0, 7, 1}));
  weight.type = 2;
  EXPECT_EQ(decoded(weight), (std::vector<uint8_t>{0x98, 0x70, 0x01}));
  weight.symbols[2] = 24;  // 8
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kPlain)), "exact"));
  weight.type = 3;
  const std::vector<uint16_t> halves = {0xC800, 0xC700, 0x4800, 0x4700, 0x3C00};
  const auto tensor = decoded(weight);
  EXPECT_EQ(std::memcmp(tensor.data(), halves.data(), 10), 0);

  Weight floats = RandomWeight({1, 4}, 6, 19, 0, 1);  // float16 holds 10 bits
  floats.type = 3;
  floats.symbols = {103, 113, 142, 0};
  floats.raw = {1 << 10, 0x3FF, 0x3FF};
  const auto small = decoded(floats);
  const std::vector<uint16_t> expected = {0x8001, 0x07FF, 0x7BFF, 0};
  EXPECT_EQ(std::memcmp(small.data(), expected.data(), 8), 0);
  for (const uint8_t exponent : {102, 143, 255}) {
    floats.symbols[0] = exponent;
    EXPECT_TRUE(Has(Refusal(WritePayload(floats, kPlain)), "exact"));
  }
}

TEST(WeightsTest, FloatsMustHaveTheirRawBits) {
  Weight weight = RandomWeight({6, 8}, 6, 13, 0, 1);
  EXPECT_EQ(Refusal(WritePayload(weight, kRans)), "");
  const size_t fields = weight.raw.size();
  weight.raw.resize(fields + 8);
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kRans)), "padding"));
  weight.raw.resize(fields - 8);
  EXPECT_TRUE(Has(Refusal(WritePayload(weight, kRans)), "raw"));
}

TEST(CApiTest, DecodesOrExplains) {
  const Weight weight = RandomWeight({4, 5}, 1, 4, 2, 2);
  auto bytes = WritePayload(weight, kAdaptive);
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

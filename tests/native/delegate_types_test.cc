// TfcDecode to each type, TfcEmbedding, and the bias inside a payload.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::PlainPayload;
using testing::RunTest;

class TypesTest : public RunTest {
 protected:
  // The bytes of the constant that TfcDecode makes.
  std::vector<uint8_t> Decoded(const PlainPayload& payload, int type,
                               const std::vector<int>& dims) {
    FakeRuntime runtime;
    const int p = runtime.AddPayload(payload.Bytes());
    const int w = runtime.AddTyped(type, dims);
    const size_t bytes = runtime.tensor(w).bytes;
    runtime.tensor(w).params = {0.5f, 3};
    runtime.AddNode("TfcDecode", {p}, {w}, {1});
    EXPECT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    const abi::Tensor& tensor = runtime.tensor(w);
    EXPECT_EQ(tensor.bytes, bytes);
    EXPECT_EQ(tensor.allocation_type, abi::kMmapRo);
    EXPECT_EQ(tensor.params.scale, 0.5f);
    EXPECT_EQ(tensor.params.zero_point, 3);
    const auto* data = static_cast<const uint8_t*>(tensor.data);
    EXPECT_EQ(std::count(data + bytes, data + bytes + 128, 0), 128);
    return std::vector<uint8_t>(data, data + bytes);
  }

  std::string Refusal(FakeRuntime& runtime) {
    EXPECT_EQ(runtime.Apply(delegate_), abi::kError);
    EXPECT_EQ(runtime.alive(), 0);
    return runtime.errors();
  }
};

TEST_F(TypesTest, Int8) {
  const PlainPayload uniform{1, 8, 1, {3}, 0, 0, {}, {}, {0, 128, 255}};
  EXPECT_EQ(Decoded(uniform, abi::kInt8, {3, 1}),
            (std::vector<uint8_t>{0x80, 0, 0x7F}));
  const PlainPayload powers{5, 4, 1, {4}, 0, 0, {}, {}, {0, 8, 12, 15}};
  EXPECT_EQ(Decoded(powers, abi::kInt8, {4}),
            (std::vector<uint8_t>{0x80, 0, 8, 64}));
}

TEST_F(TypesTest, Int4HasTwoAByte) {
  const PlainPayload odd{1, 4, 2, {5}, 0, 0, {}, {}, {0, 1, 8, 15, 9}};
  EXPECT_EQ(Decoded(odd, abi::kInt4, {5}),
            (std::vector<uint8_t>{0x98, 0x70, 0x01}));
  const PlainPayload ternary{3, 2, 2, {2, 2}, 0, 0, {}, {}, {0, 2, 1, 2}};
  EXPECT_EQ(Decoded(ternary, abi::kInt4, {2, 2}),
            (std::vector<uint8_t>{0x1F, 0x10}));
}

TEST_F(TypesTest, Float16) {
  // 7 * 2^-24 is denormal, 7 * 2^-15 normal, -8 * 2^12 large.
  const PlainPayload halves{1,
                            4,
                            3,
                            {3, 2},
                            2,
                            0,
                            {0x1p-24f, 0x1p-15f, 0x1p12f},
                            {},
                            {15, 8, 15, 7, 0, 9}};
  EXPECT_EQ(Decoded(halves, abi::kFloat16, {6}),
            (std::vector<uint8_t>{7, 0, 0, 0, 0x00, 0x0B, 0x00, 0x82, 0x00,
                                  0xF8, 0x00, 0x6C}));
}

TEST_F(TypesTest, WeightsOutsideOfTheirType) {
  struct Case {
    PlainPayload payload;
    int type;
  };
  const Case cases[] = {
      {{1, 5, 2, {1}, 0, 0, {}, {}, {31}}, abi::kInt4},
      {{5, 5, 1, {1}, 0, 0, {}, {}, {31}}, abi::kInt8},
      {{1, 8, 3, {1}, 1, 0, {65536.0f}, {}, {129}}, abi::kFloat16},
      {{1, 8, 3, {1}, 1, 0, {0x1.002p0f}, {}, {129}}, abi::kFloat16},
      {{1, 8, 3, {1}, 1, 0, {0x1p-25f}, {}, {129}}, abi::kFloat16},
  };
  for (const Case& c : cases) {
    FakeRuntime runtime;
    const int w = runtime.AddTyped(c.type, {1});
    runtime.AddNode("TfcDecode", {runtime.AddPayload(c.payload.Bytes())}, {w},
                    {1});
    EXPECT_NE(Refusal(runtime).find("TfcDecode (node 0): "), std::string::npos);
  }
}

TEST_F(TypesTest, EmbeddingRows) {
  const PlainPayload table{3,         2,  0,
                           {3, 2, 2}, 2,  0,
                           {1, 2, 3}, {}, {0, 1, 2, 2, 2, 1, 0, 1, 0, 2, 1, 1}};
  FakeRuntime runtime;
  const int x = runtime.AddTyped(abi::kInt32, {2});
  const int y = runtime.AddFloat({1});
  runtime.AddNode("TfcEmbedding", {x, runtime.AddPayload(table.Bytes())}, {y},
                  {1});
  ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
  ASSERT_EQ(runtime.Allocate(), abi::kOk);
  EXPECT_EQ(runtime.dims(y), (std::vector<int>{2, 2, 2}));
  runtime.Set(x, std::vector<int32_t>{2, 0});
  ASSERT_EQ(runtime.Invoke(), abi::kOk) << runtime.errors();
  EXPECT_EQ(runtime.Get(y), (std::vector<float>{-3, 3, 0, 0, -1, 0, 1, 1}));
  for (const int32_t wrong : {-1, 3, INT32_MIN, INT32_MAX}) {
    runtime.Set(x, std::vector<int32_t>{0, wrong});
    EXPECT_EQ(runtime.Invoke(), abi::kError);
    EXPECT_NE(runtime.errors().find("indices[1]=" + std::to_string(wrong)),
              std::string::npos);
  }
  for (const auto& dims : {std::vector<int>{}, {1, 3, 1}, {0, 4}}) {
    runtime.Resize(x, dims);
    ASSERT_EQ(runtime.Allocate(), abi::kOk);
    runtime.Set(x, std::vector<int32_t>(runtime.tensor(x).bytes / 4, 1));
    EXPECT_EQ(runtime.Invoke(), abi::kOk) << runtime.errors();
    EXPECT_EQ(runtime.Get(y).size(), runtime.tensor(x).bytes);
  }
  runtime.tensor(x).bytes = 0;  // a resize without a new allocation
  runtime.Resize(x, {2});
  ASSERT_EQ(runtime.Allocate(), abi::kOk);
  runtime.tensor(x).bytes = 4;
  EXPECT_EQ(runtime.Invoke(), abi::kError);
}

TEST_F(TypesTest, EmbeddingOfMoreThanThereIs) {
  const PlainPayload table{
      4, 1, 0, {3, 100}, 0, 0, {}, {}, std::vector<uint8_t>(300, 1)};
  FakeRuntime runtime;
  const int x = runtime.AddTyped(abi::kInt32, {1});
  const int p = runtime.AddPayload(table.Bytes());
  runtime.AddNode("TfcEmbedding", {x, p}, {runtime.AddFloat({1})}, {1});
  ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
  const int most = INT32_MAX;
  for (const auto& dims : {std::vector<int>{most, most},
                           {most, most, 2},
                           {most, most, most},
                           {1, -1}}) {
    testing::ForceDims(runtime, x, dims);
    EXPECT_EQ(runtime.Allocate(), abi::kError);
  }
  testing::ForceDims(runtime, x, {most, 1 << 24});  // elements fit, bytes not
  EXPECT_EQ(runtime.Allocate(), abi::kError);
  EXPECT_NE(runtime.errors().find("smaller than 2^63 bytes"),
            std::string::npos);
}

TEST_F(TypesTest, BiasInsideThePayload) {
  const PlainPayload dense{
      4, 1, 0, {2, 3}, 1, 0, {0.5f}, {10, 20}, {1, 1, 1, 0, 0, 1}};
  PlainPayload conv = dense;
  conv.dims = {2, 1, 1, 3};
  for (const bool spatial : {false, true}) {
    const auto bytes = (spatial ? conv : dense).Bytes();
    const char* op = spatial ? "TfcConv2D" : "TfcFullyConnected";
    const std::vector<uint8_t> options =
        spatial ? std::vector<uint8_t>{1, 0, 0, 1, 1, 1, 1}
                : std::vector<uint8_t>{1, 0, 0};
    const std::vector<int> dims =
        spatial ? std::vector<int>{1, 1, 1, 3} : std::vector<int>{1, 3};
    FakeRuntime runtime;
    const int x = runtime.AddFloat(dims), y = runtime.AddFloat({1});
    runtime.AddNode(op, {x, runtime.AddPayload(bytes), abi::kOptionalTensor},
                    {y}, options);
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    EXPECT_EQ(Run(runtime, x, y, dims, {1, 2, 4}),
              (std::vector<float>{13.5f, 20.5f}));
    FakeRuntime both;
    const int x2 = both.AddFloat(dims), p2 = both.AddPayload(bytes);
    const int b2 = both.AddConstant({1, 2});
    both.AddNode(op, {x2, p2, b2}, {both.AddFloat({1})}, options);
    EXPECT_NE(Refusal(both).find("not both"), std::string::npos);
  }
  FakeRuntime decode;
  const int p = decode.AddPayload(dense.Bytes());
  decode.AddNode("TfcDecode", {p}, {decode.AddFloat({2, 3})}, {1});
  EXPECT_NE(Refusal(decode).find("no bias"), std::string::npos);
}

TEST_F(TypesTest, BlocksAndIntegersAreForOtherOps) {
  const PlainPayload blocks{
      1, 4, 0, {2, 4}, 2, 2, {1, 2, 3, 4}, {}, std::vector<uint8_t>(8, 9)};
  const PlainPayload integers{
      1, 4, 1, {2, 4}, 0, 0, {}, {}, std::vector<uint8_t>(8, 9)};
  const struct {
    PlainPayload payload;
    const char* message;
  } cases[] = {{blocks, "block=2"}, {integers, "type=int8"}};
  for (const auto& c : cases) {
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 4});
    const int p = runtime.AddPayload(c.payload.Bytes());
    runtime.AddNode("TfcFullyConnected", {x, p}, {runtime.AddFloat({1, 2})},
                    {1, 0, 0});
    EXPECT_NE(Refusal(runtime).find(c.message), std::string::npos);
  }
}

}  // namespace
}  // namespace tfc

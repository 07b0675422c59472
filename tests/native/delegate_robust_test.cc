// Graphs that a damaged file may hold: constants to be written to, tensors
// written twice, shapes that no memory holds.
#include <gtest/gtest.h>

#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::PlainPayload;
using testing::RunTest;

constexpr int kMost = INT32_MAX;

class RobustTest : public RunTest {
 protected:
  const PlainPayload dense_{1, 4, 0, {2, 3}, 0, 0, {}, {}, {1, 2, 3, 4, 5, 6}};
  const PlainPayload conv_{1, 4,  0,  {2, 1, 1, 3},      0,
                           0, {}, {}, {1, 2, 3, 4, 5, 6}};
  FakeRuntime runtime_;
};

TEST_F(RobustTest, ConstantsAreNeverWrittenTo) {
  const int constant = runtime_.AddConstant({1, 2, 3, 4, 5, 6});
  const int x = runtime_.AddFloat({1, 3});
  const int i = runtime_.AddTyped(abi::kInt32, {1});
  const int p = runtime_.AddPayload(dense_.Bytes());
  const struct {
    const char* op;
    std::vector<int> inputs;
    std::vector<uint8_t> options;
  } cases[] = {{"TfcFullyConnected", {x, p}, {1, 0, 0}},
               {"TfcEmbedding", {i, p}, {1}},
               {"TfcDecode", {p}, {1}}};
  for (const auto& c : cases) {
    runtime_.AddNode(c.op, c.inputs, {constant}, c.options);
    EXPECT_EQ(runtime_.Apply(delegate_), abi::kError);
    EXPECT_NE(runtime_.errors().find("must not be a constant"),
              std::string::npos);
    EXPECT_EQ(runtime_.Get(constant), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  }
}

TEST_F(RobustTest, NoTensorIsWrittenTwice) {
  const int y = runtime_.AddFloat({2, 3});
  const int p = runtime_.AddPayload(dense_.Bytes());
  runtime_.AddNode("TfcDecode", {p}, {y}, {1});
  runtime_.AddNode("TfcDecode", {p}, {y}, {1});
  EXPECT_EQ(runtime_.Apply(delegate_), abi::kError);
  EXPECT_EQ(runtime_.alive(), 0);
  EXPECT_EQ(runtime_.tensor(y).allocation_type, abi::kArenaRw);
  EXPECT_NE(
      runtime_.errors().find("TfcDecode (node 1): no other op must write"),
      std::string::npos);
}

TEST_F(RobustTest, KeepNumDimsIsAFlag) {
  const int x = runtime_.AddFloat({1, 3});
  const int p = runtime_.AddPayload(dense_.Bytes());
  runtime_.AddNode("TfcFullyConnected", {x, p}, {runtime_.AddFloat({1, 2})},
                   {1, 0, 2});
  EXPECT_EQ(runtime_.Apply(delegate_), abi::kError);
  EXPECT_NE(runtime_.errors().find("keep_num_dims=2"), std::string::npos);
}

void ExpectRefused(FakeRuntime& runtime, int x,
                   const std::vector<std::vector<int>>& shapes) {
  for (const std::vector<int>& dims : shapes) {
    testing::ForceDims(runtime, x, dims);
    EXPECT_EQ(runtime.Allocate(), abi::kError)
        << ::testing::PrintToString(dims);
  }
}

TEST_F(RobustTest, AbsurdShapesOfADenseLayer) {
  const int x = runtime_.AddFloat({1, 3}), y = runtime_.AddFloat({1, 2});
  runtime_.AddNode("TfcFullyConnected",
                   {x, runtime_.AddPayload(dense_.Bytes())}, {y}, {1, 0, 0});
  ASSERT_EQ(runtime_.Apply(delegate_), abi::kOk) << runtime_.errors();
  ExpectRefused(runtime_, x,
                {{kMost, 3},
                 {kMost, kMost, 3},
                 {kMost, kMost, kMost, kMost},
                 {1 << 30, 1 << 30, 3},
                 {-1, 3},
                 {3, -3}});
  EXPECT_EQ(Run(runtime_, x, y, {1, 3}, {1, 0, 0}).size(), 2u);
  for (const auto& dims : {std::vector<int>{0, 3}, {0, kMost}, {kMost, 0}}) {
    EXPECT_TRUE(Run(runtime_, x, y, dims, {}).empty());
  }
}

TEST_F(RobustTest, AbsurdShapesOfAConvolution) {
  for (const uint8_t stride : {1, 255}) {
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 1, 1, 3}), y = runtime.AddFloat({1});
    const int p = runtime.AddPayload(conv_.Bytes());
    runtime.AddNode("TfcConv2D", {x, p}, {y},
                    {1, 0, 0, stride, stride, 255, 255});
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    ExpectRefused(runtime, x,
                  {{1, kMost, kMost, 3},
                   {0, kMost, kMost, 3},
                   {0, 1 << 16, 1 << 16, 3},
                   {kMost, kMost, kMost, 3},
                   {kMost, 1 << 12, 1 << 12, 3},
                   {1, -1, 2, 3},
                   {1, 0, 2, 3},
                   {1, 2, 2}});
    EXPECT_EQ(Run(runtime, x, y, {1, 1, 1, 3}, {1, 0, 0}).size(), 2u);
    EXPECT_TRUE(Run(runtime, x, y, {0, 4, 1 << 20, 3}, {}).empty());
  }
}

TEST_F(RobustTest, ABiasThatLostItsData) {
  const int x = runtime_.AddFloat({1, 3}), y = runtime_.AddFloat({1, 2});
  const int p = runtime_.AddPayload(dense_.Bytes());
  const int bias = runtime_.AddConstant({1, 2});
  runtime_.AddNode("TfcFullyConnected", {x, p, bias}, {y}, {1, 0, 0});
  ASSERT_EQ(runtime_.Apply(delegate_), abi::kOk) << runtime_.errors();
  ASSERT_EQ(runtime_.Allocate(), abi::kOk);
  runtime_.tensor(bias).bytes = 4;
  EXPECT_EQ(runtime_.Invoke(), abi::kError);
  runtime_.tensor(bias).bytes = 8;
  runtime_.tensor(bias).data = nullptr;
  EXPECT_EQ(runtime_.Invoke(), abi::kError);
  EXPECT_NE(runtime_.errors().find("the bias must have data"),
            std::string::npos);
}

}  // namespace
}  // namespace tfc

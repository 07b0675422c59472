// Claimed graphs over time: resizes, constants, memory, sharing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::PlainPayload;
using testing::RandomFloats;
using testing::RandomPayload;
using testing::RunTest;

// A decoded weight, a convolution and a dense layer behind it.
struct Chain {
  explicit Chain(abi::Delegate* d) : delegate(d) {
    x = runtime.AddFloat({1, 6, 6, 3});
    hidden = runtime.AddFloat({1, 1});
    y = runtime.AddFloat({1, 1});
    decoded = runtime.AddFloat({7, 5});
    const int conv =
        runtime.AddPayload(RandomPayload({8, 3, 3, 3}, 4, false, 0, 1).Bytes());
    const int dense =
        runtime.AddPayload(RandomPayload({5, 8}, 4, true, 0, 2).Bytes());
    const int small = runtime.AddPayload(weight.Bytes());
    runtime.AddNode("TfcDecode", {small}, {decoded}, {1});
    runtime.AddNode("TfcConv2D", {x, conv}, {hidden}, {1, 1, 0, 1, 1, 1, 1});
    runtime.AddNode("TfcFullyConnected", {hidden, dense}, {y}, {1, 0, 0});
    EXPECT_EQ(runtime.Apply(delegate), abi::kOk) << runtime.errors();
  }

  const PlainPayload weight = RandomPayload({7, 5}, 4, false, 1, 3);
  FakeRuntime runtime;
  abi::Delegate* delegate;
  int x, hidden, y, decoded;
};

TEST_F(RunTest, TenResizesGiveWhatAFreshRuntimeGives) {
  Chain resized(delegate_), undone(delegate_);
  const int sides[10][3] = {{1, 6, 6},  {8, 6, 6}, {2, 3, 9}, {1, 12, 1},
                            {16, 4, 4}, {1, 6, 6}, {3, 5, 7}, {2, 1, 1},
                            {8, 6, 6},  {1, 6, 6}};
  for (const auto& [batch, height, width] : sides) {
    const std::vector<int> dims = {batch, height, width, 3};
    const auto values = RandomFloats(size_t(batch) * height * width * 3, 7);
    Chain fresh(delegate_);
    const auto expected = Run(fresh.runtime, fresh.x, fresh.y, dims, values);
    EXPECT_EQ(Run(resized.runtime, resized.x, resized.y, dims, values),
              expected);
    // What a delegate with static shapes beside ours makes the runtime do.
    undone.runtime.Undo();
    EXPECT_EQ(undone.runtime.alive(), 0);
    EXPECT_EQ(undone.runtime.tensor(undone.decoded).data, nullptr);
    EXPECT_EQ(undone.runtime.Apply(delegate_), abi::kOk);
    EXPECT_EQ(Run(undone.runtime, undone.x, undone.y, dims, values), expected);
    EXPECT_EQ(undone.runtime.Get(undone.decoded), undone.weight.Floats());
    EXPECT_EQ(undone.runtime.alive(), 3);
  }
}

TEST_F(RunTest, DecodedWeightIsAConstantBeforeAnyAllocation) {
  Chain chain(delegate_);
  const abi::Tensor& tensor = chain.runtime.tensor(chain.decoded);
  EXPECT_EQ(tensor.allocation_type, abi::kMmapRo);
  EXPECT_EQ(tensor.bytes, 4u * 35);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data) % 64, 0u);
  EXPECT_EQ(chain.runtime.Get(chain.decoded), chain.weight.Floats());
  const auto* end = static_cast<const uint8_t*>(tensor.data) + tensor.bytes;
  EXPECT_EQ(std::count(end, end + 128, 0), 128);
  chain.runtime.Undo();
  EXPECT_EQ(chain.runtime.tensor(chain.decoded).data, nullptr);
  EXPECT_EQ(chain.runtime.tensor(chain.decoded).allocation_type, abi::kArenaRw);
  EXPECT_EQ(chain.runtime.tensor(chain.decoded).bytes, 4u * 35);
}

TEST_F(RunTest, NanStaysInItsRow) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const char* arithmetic : {"float", "int8"}) {
    setenv("TFC_ACT", arithmetic, 1);
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 9}), y = runtime.AddFloat({1, 6});
    PlainPayload weight = RandomPayload({6, 9}, 4, false, 0, 4);
    for (uint8_t& symbol : weight.symbols) symbol |= 1;  // no zero weights
    const int p = runtime.AddPayload(weight.Bytes());
    runtime.AddNode("TfcFullyConnected", {x, p}, {y}, {1, 0, 0});
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    auto values = RandomFloats(27, 2);
    const auto clean = Run(runtime, x, y, {3, 9}, values);
    values[9 + 4] = nan;
    const auto dirty = Run(runtime, x, y, {3, 9}, values);
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(dirty[i], clean[i]);
      EXPECT_TRUE(std::isnan(dirty[6 + i])) << arithmetic;
      EXPECT_EQ(dirty[12 + i], clean[12 + i]);
    }
    values[9 + 4] = inf;
    const auto infinite = Run(runtime, x, y, {3, 9}, values);
    for (int i = 0; i < 6; ++i) EXPECT_FALSE(std::isfinite(infinite[6 + i]));
  }
}

TEST_F(RunTest, OneDelegateForSeveralRuntimes) {
  Chain first(delegate_);
  {
    Chain second(delegate_);
    Run(second.runtime, second.x, second.y, {1, 6, 6, 3}, RandomFloats(108, 1));
  }
  EXPECT_EQ(first.runtime.Get(first.decoded), first.weight.Floats());
  Run(first.runtime, first.x, first.y, {1, 6, 6, 3}, RandomFloats(108, 1));
}

}  // namespace
}  // namespace tfc

// One interpreter per thread, several in a process; also run under
// ThreadSanitizer (TFC_SANITIZE_THREAD).
#include <gtest/gtest.h>

#include <thread>

#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::RandomFloats;
using testing::RandomPayload;
using testing::RunTest;

constexpr int kThreads = 6;

// Claims, resizes and runs a graph of all kinds of kernels.
std::vector<float> RunAll(abi::Delegate* delegate, int rounds) {
  FakeRuntime runtime;
  const int x = runtime.AddFloat({1, 6, 6, 16});
  const int a = runtime.AddFloat({1}), b = runtime.AddFloat({1});
  const int y = runtime.AddFloat({1}), decoded = runtime.AddFloat({7, 5});
  const auto payload = [&](std::vector<uint64_t> dims, int bits, int axis) {
    return runtime.AddPayload(
        RandomPayload(std::move(dims), bits, false, axis, 1).Bytes());
  };
  runtime.AddNode("TfcDecode", {payload({7, 5}, 4, 1)}, {decoded}, {1});
  runtime.AddNode("TfcConv2D", {x, payload({24, 3, 3, 16}, 4, 0)}, {a},
                  {1, 1, 0, 1, 1, 1, 1});
  runtime.AddNode("TfcDepthwiseConv2D", {a, payload({1, 3, 3, 24}, 4, 3)}, {b},
                  {1, 0, 0, 1, 1, 1, 1, 1});
  runtime.AddNode("TfcFullyConnected", {b, payload({9, 24}, 2, 0)}, {y},
                  {1, 0, 1});
  EXPECT_EQ(runtime.Apply(delegate), abi::kOk) << runtime.errors();
  std::vector<float> outputs;
  for (int round = 0; round < rounds; ++round) {
    const int side = 4 + round % 3;
    runtime.Resize(x, {1, side, side, 16});
    EXPECT_EQ(runtime.Allocate(), abi::kOk) << runtime.errors();
    runtime.Set(x, RandomFloats(size_t(side) * side * 16, round));
    EXPECT_EQ(runtime.Invoke(), abi::kOk) << runtime.errors();
    const auto result = runtime.Get(y);
    outputs.insert(outputs.end(), result.begin(), result.end());
  }
  return outputs;
}

TEST_F(RunTest, ThreadsThatShareADelegateGiveTheSameBits) {
  setenv("TFC_ACT", "int8", 1);
  const auto expected = RunAll(delegate_, 6);
  std::vector<std::vector<float>> found(kThreads);
  std::vector<std::thread> threads;
  for (auto& each : found) {
    threads.emplace_back([&] { each = RunAll(delegate_, 6); });
  }
  for (auto& each : threads) each.join();
  for (const auto& each : found) EXPECT_EQ(each, expected);
}

}  // namespace
}  // namespace tfc

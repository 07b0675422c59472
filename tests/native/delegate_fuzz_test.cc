// Graphs that make no sense, made by the thousand: claiming, preparing and
// running them ends in an error or in numbers. The sanitizers watch.
#include <gtest/gtest.h>

#include <random>

#include "delegate/delegate.h"
#include "delegate_payload.h"
#include "fake_runtime.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::RandomPayload;

class Chance {
 public:
  explicit Chance(uint32_t seed) : random_(seed) {}
  int Below(int limit) { return int(random_() % uint32_t(limit)); }
  bool OneIn(int n) { return Below(n) == 0; }

  std::vector<int> Dims(int rank) {
    std::vector<int> dims;
    for (int i = 0; i < rank; ++i) dims.push_back(OneIn(20) ? 0 : 1 + Below(6));
    return dims;
  }

 private:
  std::mt19937 random_;
};

// Mostly an op as it should be, with a few things wrong.
void AddOp(FakeRuntime& runtime, Chance& chance, int x, int y) {
  const char* const names[] = {"TfcFullyConnected", "TfcConv2D", "TfcDecode"};
  const int op = chance.Below(3);
  const int rank = chance.OneIn(6) ? 1 + chance.Below(4) : op == 1 ? 4 : 2;
  std::vector<uint64_t> weight_dims;
  for (int i = 0; i < rank; ++i) weight_dims.push_back(1 + chance.Below(4));
  const int axis = chance.OneIn(4) ? chance.Below(rank + 1) - 1 : 0;
  auto payload =
      RandomPayload(weight_dims, 2 + chance.Below(7), chance.OneIn(2), axis, 1)
          .Bytes();
  if (chance.OneIn(10)) payload[chance.Below(int(payload.size()))] ^= 16;
  const int p = runtime.AddPayload(payload, size_t(chance.Below(16)));
  std::vector<int> inputs = {x, p};
  if (op == 2) inputs = {p};
  if (chance.OneIn(3)) {
    const std::vector<float> bias(weight_dims[0] + chance.OneIn(5));
    inputs.push_back(chance.OneIn(4) ? abi::kOptionalTensor
                                     : runtime.AddConstant(bias));
  }
  if (chance.OneIn(15)) inputs[size_t(chance.Below(int(inputs.size())))] = 999;
  if (chance.OneIn(15)) inputs.pop_back();
  std::vector<uint8_t> options(op == 0 ? 3 : op == 1 ? 7 : 1, 1);
  for (size_t i = 3; i < options.size(); ++i) options[i] += chance.Below(3);
  if (chance.OneIn(4)) {
    options[size_t(chance.Below(int(options.size())))] = chance.Below(256);
  }
  if (chance.OneIn(15)) options.resize(size_t(chance.Below(9)));
  runtime.AddNode(names[op], inputs, {y}, options);
}

TEST(DelegateFuzzTest, GraphsThatMakeNoSense) {
  abi::Delegate* delegate = NewDelegate();
  int claimed = 0, prepared = 0, ran = 0;
  for (uint32_t seed = 0; seed < 6000; ++seed) {
    Chance chance(seed);
    FakeRuntime runtime;
    const int x = runtime.AddFloat(chance.Dims(
        chance.OneIn(3) ? chance.Below(6) : 2 + 2 * chance.Below(2)));
    const int y = runtime.AddFloat(chance.Dims(2));
    AddOp(runtime, chance, x, y);
    if (chance.OneIn(30)) runtime.tensor(chance.OneIn(2) ? x : y).type = 9;
    const bool ok = runtime.Apply(delegate) == abi::kOk;
    EXPECT_EQ(runtime.errors().empty(), ok);
    if (!ok) continue;
    ++claimed;
    for (int resize = 0; resize < 3; ++resize) {
      if (runtime.Allocate() == abi::kOk) {
        ++prepared;
        runtime.Set(x, std::vector<float>(runtime.tensor(x).bytes / 4, 0.5f));
        ran += runtime.Invoke() == abi::kOk;
      }
      runtime.Resize(x, chance.Dims(2 + 2 * chance.Below(2)));
    }
  }
  EXPECT_GT(claimed, 600);
  EXPECT_GT(prepared, 300);
  EXPECT_EQ(ran, prepared);
  DeleteDelegate(delegate);
}

}  // namespace
}  // namespace tfc

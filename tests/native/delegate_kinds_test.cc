// Depthwise convolutions and products of signs: the delegate's own part.
#include <gtest/gtest.h>

#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::PlainPayload;
using testing::RandomFloats;
using testing::RandomPayload;
using testing::RunTest;

PlainPayload Signs(std::vector<uint64_t> dims, uint32_t seed) {
  PlainPayload payload = RandomPayload(std::move(dims), 1, false, 0, seed);
  payload.encoding = 4;
  return payload;
}

std::vector<float> SignsOf(std::vector<float> values) {
  for (float& value : values) value = value < 0 ? -1.0f : 1.0f;
  return values;
}

TEST_F(RunTest, DepthwiseEqualsTheDefinition) {
  for (const int multiplier : {1, 3}) {
    const int channels = 5, outs = channels * multiplier;
    const PlainPayload weight =
        RandomPayload({1, 2, 3, uint64_t(outs)}, 4, false, 3, 1);
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 1, 1, 1}), y = runtime.AddFloat({1});
    runtime.AddNode("TfcDepthwiseConv2D",
                    {x, runtime.AddPayload(weight.Bytes())}, {y},
                    {1, 0, 1, 2, 1, 1, 1, uint8_t(multiplier)});
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    const auto image = RandomFloats(2 * 6 * 7 * channels, 2);
    const auto result = Run(runtime, x, y, {2, 6, 7, channels}, image);
    ASSERT_EQ(runtime.dims(y), (std::vector<int>{2, 3, 5, outs}));
    const auto floats = weight.Floats();
    for (int i = 0; i < 2 * 3 * 5 * outs; ++i) {
      const int o = i % outs, column = i / outs % 5, row = i / outs / 5 % 3;
      double sum = 0;
      for (int t = 0; t < 6; ++t) {
        const int pixel =
            (i / outs / 15 * 6 + 2 * row + t / 3) * 7 + column + t % 3;
        sum += double(image[pixel * channels + o / multiplier]) *
               double(floats[t * outs + o]);
      }
      ASSERT_NEAR(result[i], sum, 2e-5) << i;
    }
  }
}

TEST_F(RunTest, SignsGiveWhatTheFloatKernelGives) {
  const PlainPayload conv = Signs({7, 3, 3, 9}, 1), dense = Signs({5, 11}, 2);
  for (const bool is_dense : {false, true}) {
    std::vector<std::vector<float>> results;
    for (const char* arithmetic : {"int8", "float"}) {
      setenv("TFC_ACT", arithmetic, 1);
      FakeRuntime runtime;
      const int x = runtime.AddFloat(is_dense ? std::vector<int>{3, 11}
                                              : std::vector<int>{2, 5, 4, 9});
      const int y = runtime.AddFloat({1});
      const int weight =
          runtime.AddPayload(is_dense ? dense.Bytes() : conv.Bytes());
      runtime.AddNode(is_dense ? "TfcBinaryFullyConnected" : "TfcBinaryConv2D",
                      {x, weight}, {y},
                      is_dense ? std::vector<uint8_t>{1, 0, 0}
                               : std::vector<uint8_t>{1, 0, 0, 1, 1, 1, 1});
      ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
      const auto dims = runtime.dims(x);
      results.push_back(Run(runtime, x, y, dims,
                            SignsOf(RandomFloats(is_dense ? 33 : 360, 3))));
    }
    ASSERT_EQ(results[0].size(), results[1].size());
    for (size_t i = 0; i < results[0].size(); ++i) {
      ASSERT_NEAR(results[0][i], results[1][i], 1e-4) << i;
    }
  }
}

struct Refused {
  const char* op;
  PlainPayload weight;
  std::vector<uint8_t> options;
  const char* reason;
};

TEST_F(RunTest, WhatDoesNotFitIsRefused) {
  const std::vector<Refused> cases = {
      {"TfcBinaryConv2D",
       RandomPayload({4, 1, 1, 3}, 4, false, 0, 1),
       {1, 0, 0, 1, 1, 1, 1},
       "the payload must hold signs"},
      {"TfcDepthwiseConv2D",
       RandomPayload({1, 3, 3, 6}, 4, false, 3, 1),
       {1, 0, 0, 1, 1, 1, 1, 4},
       "multiplier=4"},
      {"TfcDepthwiseConv2D",
       RandomPayload({1, 3, 3, 6}, 4, false, 3, 1),
       {1, 0, 0, 1, 1, 1, 1, 0},
       "multiplier=0"},
      {"TfcDepthwiseConv2D",
       RandomPayload({2, 3, 3, 6}, 4, false, 3, 1),
       {1, 0, 0, 1, 1, 1, 1, 1},
       "the payload must be [1, height, width"},
      {"TfcDepthwiseConv2D",
       RandomPayload({1, 3, 3, 6}, 4, false, 0, 1),
       {1, 0, 0, 1, 1, 1, 1, 1},
       "scales must lie along the output channels"},
      {"TfcDepthwiseConv2D",
       RandomPayload({1, 3, 3, 6}, 4, false, 3, 1),
       {1, 0, 0, 1, 1, 1, 1},
       "options of version 1"},
      {"TfcConv3D",
       RandomPayload({1, 3, 3, 6}, 4, false, 3, 1),
       {1},
       "must be an op of this release of tfcompress"},
  };
  for (const Refused& each : cases) {
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 6, 6, 6}), y = runtime.AddFloat({1});
    runtime.AddNode(each.op, {x, runtime.AddPayload(each.weight.Bytes())}, {y},
                    each.options);
    EXPECT_EQ(runtime.Apply(delegate_), abi::kError);
    EXPECT_NE(runtime.errors().find(each.reason), std::string::npos)
        << each.op << ": " << runtime.errors();
    EXPECT_EQ(runtime.alive(), 0);
  }
}

}  // namespace
}  // namespace tfc

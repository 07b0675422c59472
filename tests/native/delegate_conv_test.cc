// The values and shapes of claimed convolutions and dense layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::PlainPayload;
using testing::RandomFloats;
using testing::RandomPayload;
using testing::RunTest;

struct ConvCase {
  int batch, height, width, in, out, kernel_h, kernel_w;
  bool valid;
  int stride_h, stride_w, dilation_h, dilation_w;
  int activation;
};

// The convolution by its definition, in double.
std::vector<float> Expected(const ConvCase& c, const std::vector<float>& x,
                            const std::vector<float>& w,
                            const std::vector<float>& bias) {
  const auto plan = [&](int in, int kernel, int stride, int dilation) {
    const int reach = (kernel - 1) * dilation + 1;
    const int out = c.valid ? int(std::ceil(double(in - reach + 1) / stride))
                            : int(std::ceil(double(in) / stride));
    const int pad = c.valid ? 0 : std::max((out - 1) * stride + reach - in, 0);
    return std::pair<int, int>(out, pad / 2);
  };
  const auto [out_h, top] =
      plan(c.height, c.kernel_h, c.stride_h, c.dilation_h);
  const auto [out_w, left] =
      plan(c.width, c.kernel_w, c.stride_w, c.dilation_w);
  std::vector<float> y;
  for (int b = 0; b < c.batch; ++b)
    for (int oy = 0; oy < out_h; ++oy)
      for (int ox = 0; ox < out_w; ++ox)
        for (int o = 0; o < c.out; ++o) {
          double sum = bias.empty() ? 0 : bias[o];
          for (int ky = 0; ky < c.kernel_h; ++ky)
            for (int kx = 0; kx < c.kernel_w; ++kx)
              for (int i = 0; i < c.in; ++i) {
                const int iy = oy * c.stride_h + ky * c.dilation_h - top;
                const int ix = ox * c.stride_w + kx * c.dilation_w - left;
                if (iy < 0 || ix < 0 || iy >= c.height || ix >= c.width)
                  continue;
                sum +=
                    double(x[((b * c.height + iy) * c.width + ix) * c.in + i]) *
                    w[((o * c.kernel_h + ky) * c.kernel_w + kx) * c.in + i];
              }
          if (c.activation != 0) sum = std::max(sum, 0.);
          if (c.activation == 3) sum = std::min(sum, 6.);
          y.push_back(float(sum));
        }
  return y;
}

void ExpectNear(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-5) << i;
}

class ConvTest : public RunTest,
                 public ::testing::WithParamInterface<ConvCase> {};

TEST_P(ConvTest, EqualsTheDefinition) {
  const ConvCase& c = GetParam();
  const PlainPayload weight =
      RandomPayload({uint64_t(c.out), uint64_t(c.kernel_h),
                     uint64_t(c.kernel_w), uint64_t(c.in)},
                    4, c.out % 2 == 0, 0, 5);
  for (const bool with_bias : {false, true}) {
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 1, 1, 1}), y = runtime.AddFloat({1});
    std::vector<int> inputs = {x, runtime.AddPayload(weight.Bytes())};
    const auto bias = with_bias ? RandomFloats(c.out, 2) : std::vector<float>{};
    if (with_bias) inputs.push_back(runtime.AddConstant(bias));
    runtime.AddNode(
        "TfcConv2D", inputs, {y},
        {1, uint8_t(c.activation), uint8_t(c.valid), uint8_t(c.stride_h),
         uint8_t(c.stride_w), uint8_t(c.dilation_h), uint8_t(c.dilation_w)});
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    const auto image =
        RandomFloats(size_t(c.batch) * c.height * c.width * c.in, 3);
    const auto result =
        Run(runtime, x, y, {c.batch, c.height, c.width, c.in}, image);
    ExpectNear(result, Expected(c, image, weight.Floats(), bias));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ConvTest,
    ::testing::Values(ConvCase{1, 5, 5, 3, 4, 3, 3, false, 1, 1, 1, 1, 0},
                      ConvCase{2, 6, 7, 2, 5, 3, 3, true, 1, 1, 1, 1, 1},
                      ConvCase{1, 8, 9, 4, 3, 3, 2, false, 2, 2, 1, 1, 3},
                      ConvCase{3, 7, 5, 1, 8, 2, 3, true, 2, 1, 1, 1, 0},
                      ConvCase{1, 9, 9, 3, 2, 3, 3, false, 1, 1, 2, 2, 1},
                      ConvCase{1, 9, 8, 3, 7, 3, 3, true, 1, 2, 3, 2, 0},
                      ConvCase{2, 4, 4, 16, 16, 1, 1, false, 1, 1, 1, 1, 0},
                      ConvCase{1, 2, 2, 5, 6, 5, 5, false, 3, 3, 1, 1, 1}));

TEST_F(RunTest, DenseWithAndWithoutBias) {
  const PlainPayload weight = RandomPayload({6, 9}, 3, true, 0, 4);
  const auto bias = RandomFloats(6, 1);
  const auto x_values = RandomFloats(4 * 9, 2);
  for (const int bias_kind : {0, 1, 2}) {  // absent, -1, given
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 9}), y = runtime.AddFloat({1, 6});
    std::vector<int> inputs = {x, runtime.AddPayload(weight.Bytes())};
    if (bias_kind == 1) inputs.push_back(abi::kOptionalTensor);
    if (bias_kind == 2) inputs.push_back(runtime.AddConstant(bias));
    runtime.AddNode("TfcFullyConnected", inputs, {y}, {1, 1, 0});
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    const ConvCase c{4, 1, 1, 9, 6, 1, 1, false, 1, 1, 1, 1, 1};
    ExpectNear(Run(runtime, x, y, {4, 9}, x_values),
               Expected(c, x_values, weight.Floats(),
                        bias_kind == 2 ? bias : std::vector<float>{}));
    EXPECT_EQ(runtime.dims(y), (std::vector<int>{4, 6}));
  }
}

TEST_F(RunTest, DenseShapes) {
  const PlainPayload weight = RandomPayload({6, 8}, 4, false, -1, 4);
  for (const bool keep : {false, true}) {
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 8}), y = runtime.AddFloat({1, 6});
    const int p = runtime.AddPayload(weight.Bytes());
    runtime.AddNode("TfcFullyConnected", {x, p}, {y}, {1, 0, keep});
    ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
    Run(runtime, x, y, {2, 3, 8}, RandomFloats(48, 1));
    EXPECT_EQ(runtime.dims(y),
              keep ? (std::vector<int>{2, 3, 6}) : (std::vector<int>{6, 6}));
    EXPECT_TRUE(Run(runtime, x, y, {0, 8}, {}).empty());
    runtime.Resize(x, {2, 4});
    EXPECT_EQ(runtime.Allocate(), keep ? abi::kError : abi::kOk);
    runtime.Resize(x, {3, 7});
    EXPECT_EQ(runtime.Allocate(), abi::kError);
    EXPECT_NE(runtime.errors().find("x=[3, 7]"), std::string::npos);
  }
}

TEST_F(RunTest, ShapesThatDoNotFit) {
  const PlainPayload weight = RandomPayload({2, 3, 3, 4}, 4, false, 0, 1);
  FakeRuntime runtime;
  const int x = runtime.AddFloat({1, 4, 4, 4}), y = runtime.AddFloat({1});
  const int p = runtime.AddPayload(weight.Bytes());
  const int bias = runtime.AddConstant({1, 2});
  runtime.AddNode("TfcConv2D", {x, p, bias}, {y}, {1, 0, 1, 1, 1, 1, 1});
  ASSERT_EQ(runtime.Apply(delegate_), abi::kOk) << runtime.errors();
  EXPECT_EQ(runtime.Invoke(), abi::kOk);  // nothing prepared: nothing to do
  for (const auto& dims :
       {std::vector<int>{1, 4, 4, 5}, {4, 4, 4}, {1, 2, 4, 4}}) {
    runtime.Resize(x, dims);
    EXPECT_EQ(runtime.Allocate(), abi::kError);
  }
  runtime.Resize(x, {1, 4, 4, 4});
  EXPECT_EQ(runtime.Allocate(), abi::kOk);
  runtime.tensor(x).bytes = 4;  // a resize without a new allocation
  EXPECT_EQ(runtime.Invoke(), abi::kError);
  runtime.Resize(x, {1, 4, 4, 4});
  runtime.tensor(bias).dims->data[0] = 1;
  EXPECT_EQ(runtime.Allocate(), abi::kError);
  EXPECT_NE(runtime.errors().find("bias"), std::string::npos);
}

}  // namespace
}  // namespace tfc

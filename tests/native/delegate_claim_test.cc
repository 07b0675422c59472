// Claiming nodes: the plugin's functions, the proof of the layout, damage.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "delegate/delegate.h"
#include "delegate_payload.h"
#include "fake_runtime.h"

extern "C" tfc::abi::Delegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count,
    void (*report_error)(const char*));
extern "C" void tflite_plugin_destroy_delegate(tfc::abi::Delegate* delegate);

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::PlainPayload;
using testing::RandomPayload;

class ClaimTest : public ::testing::Test {
 protected:
  ~ClaimTest() override { DeleteDelegate(delegate_); }

  // A graph with one op over these payload bytes.
  void AddDense(const std::vector<uint8_t>& payload, size_t offset = 4) {
    const int x = runtime_.AddFloat({1, 5});
    const int p = runtime_.AddPayload(payload, offset);
    runtime_.AddNode("TfcFullyConnected", {x, p}, {runtime_.AddFloat({1, 3})},
                     {1, 0, 0});
  }

  // The message with which the delegate refuses the graph.
  std::string Refusal() {
    EXPECT_EQ(runtime_.Apply(delegate_), abi::kError);
    EXPECT_EQ(runtime_.alive(), 0);
    return runtime_.errors();
  }

  const PlainPayload weight_ = RandomPayload({3, 5}, 4, false, 0, 1);
  const std::vector<uint8_t> payload_ = weight_.Bytes();
  FakeRuntime runtime_;
  abi::Delegate* delegate_ = NewDelegate();
};

std::string reported;

TEST(PluginTest, TakesNoOptions) {
  const char* key = "threads";
  const char* value = "4";
  const auto report = [](const char* message) { reported = message; };
  EXPECT_EQ(tflite_plugin_create_delegate(&key, &value, 1, report), nullptr);
  EXPECT_NE(reported.find("threads=4"), std::string::npos);
  EXPECT_EQ(tflite_plugin_create_delegate(&key, &value, 1, nullptr), nullptr);
  abi::Delegate* delegate =
      tflite_plugin_create_delegate(nullptr, nullptr, 0, nullptr);
  ASSERT_NE(delegate, nullptr);
  EXPECT_EQ(delegate->flags, abi::kAllowDynamicTensors);
  tflite_plugin_destroy_delegate(delegate);
}

TEST_F(ClaimTest, ClaimsOursNodeByNodeAndNothingElse) {
  const int a = runtime_.AddFloat({1, 5}), b = runtime_.AddFloat({1, 3});
  const int c = runtime_.AddFloat({1, 3}), d = runtime_.AddFloat({5, 3});
  const int p = runtime_.AddPayload(payload_);
  const int square =
      runtime_.AddPayload(RandomPayload({3, 3}, 2, false, 0, 2).Bytes());
  runtime_.AddNode("TfcFullyConnected", {a, p}, {b}, {1, 0, 0});
  runtime_.AddNode("TfcFullyConnected", {b, square}, {c}, {1, 0, 0});
  const int other =
      runtime_.AddNode("Other", {c}, {runtime_.AddFloat({1})}, {});
  runtime_.AddNode("TfcDecode", {p}, {d}, {1});
  ASSERT_EQ(runtime_.Apply(delegate_), abi::kOk) << runtime_.errors();
  EXPECT_EQ(runtime_.alive(), 3);
  ASSERT_EQ(runtime_.plan().size(), 4u);
  EXPECT_EQ(runtime_.plan()[2], other);
  const abi::Registration& first = runtime_.registration(runtime_.plan()[0]);
  EXPECT_STREQ(first.custom_name, "TfcFullyConnected");
  EXPECT_STREQ(runtime_.registration(runtime_.plan()[3]).custom_name,
               "TfcDecode");
  for (const uint64_t field : first.newer_fields) EXPECT_EQ(field, 0u);
  const char* kernel = first.profiling_string(
      runtime_.context(), runtime_.node(runtime_.plan()[0]));
  EXPECT_EQ(std::string(kernel).rfind("conv2d_", 0), 0u) << kernel;
}

TEST_F(ClaimTest, NothingToClaim) {
  runtime_.AddNode("Other", {runtime_.AddFloat({1})}, {runtime_.AddFloat({1})},
                   {});
  EXPECT_EQ(runtime_.Apply(delegate_), abi::kOk);
  EXPECT_EQ(runtime_.alive(), 0);
}

TEST_F(ClaimTest, PayloadsOfAnyAlignment) {
  for (const size_t offset : {0, 1, 2, 4, 8, 12}) AddDense(payload_, offset);
  EXPECT_EQ(runtime_.Apply(delegate_), abi::kOk) << runtime_.errors();
  EXPECT_EQ(runtime_.alive(), 6);
}

TEST_F(ClaimTest, EveryFlippedByteIsRefusedAndLeavesTheGraph) {
  for (size_t at = 0; at < payload_.size(); ++at) {
    std::vector<uint8_t> bytes = payload_;
    bytes[at] ^= 0x41;
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 5}), y = runtime.AddFloat({1, 3});
    const int good = runtime.AddPayload(payload_);
    const int bad = runtime.AddPayload(bytes);
    runtime.AddNode("TfcFullyConnected", {x, good}, {y}, {1, 0, 0});
    const int decoded = runtime.AddFloat({5, 3});
    runtime.AddNode("TfcDecode", {bad}, {decoded}, {1});
    EXPECT_EQ(runtime.Apply(delegate_), abi::kError) << at;
    EXPECT_EQ(runtime.plan(), (std::vector<int>{0, 1}));
    EXPECT_EQ(runtime.tensor(decoded).allocation_type, abi::kArenaRw);
    EXPECT_EQ(runtime.errors().rfind("tfcompress: TfcDecode (node 1): ", 0), 0u)
        << runtime.errors();
  }
}

TEST_F(ClaimTest, EveryTruncationIsRefused) {
  for (size_t size = 0; size < payload_.size(); ++size) {
    FakeRuntime runtime;
    const int bad =
        runtime.AddPayload({payload_.begin(), payload_.begin() + size});
    runtime.AddNode("TfcDecode", {bad}, {runtime.AddFloat({5, 3})}, {1});
    EXPECT_EQ(runtime.Apply(delegate_), abi::kError) << size;
  }
}

TEST_F(ClaimTest, WrongMagicNamesTheRuntime) {
  std::vector<uint8_t> bytes = payload_;
  bytes[0] = 'X';
  AddDense(bytes);
  EXPECT_NE(Refusal().find("this runtime's structures"), std::string::npos);
}

TEST_F(ClaimTest, LayoutThatIsNotOurs) {
  AddDense(payload_);
  const int p = 1;
  runtime_.tensor(p).bytes += 4;
  EXPECT_NE(Refusal().find("this runtime's structures"), std::string::npos);
  runtime_.tensor(p).bytes -= 4;
  runtime_.tensor(p).allocation_type = abi::kArenaRw;
  EXPECT_NE(Refusal().find("constant uint8"), std::string::npos);
  runtime_.tensor(p).allocation_type = abi::kMmapRo;
  runtime_.tensor(p).type = 9;
  EXPECT_NE(Refusal().find("type=9"), std::string::npos);
  runtime_.tensor(p).type = abi::kUInt8;
  EXPECT_EQ(runtime_.Apply(delegate_), abi::kOk);
}

TEST_F(ClaimTest, OptionsOfAnotherRelease) {
  const int x = runtime_.AddFloat({1, 5}), y = runtime_.AddFloat({1, 3});
  const int p = runtime_.AddPayload(payload_);
  runtime_.AddNode("TfcFullyConnected", {x, p}, {y}, {2, 0, 0});
  EXPECT_NE(Refusal().find("version 1"), std::string::npos);
}

TEST_F(ClaimTest, OpsOfAnotherRelease) {
  const int x = runtime_.AddFloat({1, 5});
  runtime_.AddNode("TfcLstm", {x}, {x}, {});
  EXPECT_NE(Refusal().find("op=TfcLstm"), std::string::npos);
}

TEST_F(ClaimTest, OpsThatContradictThePayload) {
  struct Case {
    const char* op;
    std::vector<uint64_t> dims;
    int axis;
    std::vector<uint8_t> options;
    const char* message;
  };
  const Case cases[] = {
      {"TfcFullyConnected", {3, 5, 1}, 0, {1, 0, 0}, "[out, in]"},
      {"TfcFullyConnected", {3, 5}, 1, {1, 0, 0}, "channel_axis=1"},
      {"TfcFullyConnected", {3, 5}, 0, {1, 2, 0}, "activation=2"},
      {"TfcFullyConnected", {3, 5}, 0, {1, 0}, "bytes=2"},
      {"TfcConv2D",
       {3, 5},
       0,
       {1, 0, 0, 1, 1, 1, 1},
       "[out, height, width, in]"},
      {"TfcConv2D", {3, 1, 1, 5}, 0, {1, 0, 2, 1, 1, 1, 1}, "padding"},
      {"TfcConv2D", {3, 1, 1, 5}, 0, {1, 0, 0, 1, 0, 1, 1}, "strides"},
      {"TfcConv2D", {3, 1, 1, 5}, 0, {1, 0, 0, 1, 1, 1}, "bytes=6"},
  };
  for (const Case& c : cases) {
    FakeRuntime runtime;
    const int x = runtime.AddFloat({1, 1, 1, 5}), y = runtime.AddFloat({1, 3});
    const int p =
        runtime.AddPayload(RandomPayload(c.dims, 4, false, c.axis, 1).Bytes());
    runtime.AddNode(c.op, {x, p}, {y}, c.options);
    EXPECT_EQ(runtime.Apply(delegate_), abi::kError) << c.message;
    EXPECT_NE(runtime.errors().find(c.message), std::string::npos)
        << runtime.errors();
  }
}

TEST_F(ClaimTest, DecodedShapeMustFit) {
  const int p = runtime_.AddPayload(payload_);
  runtime_.AddNode("TfcDecode", {p}, {runtime_.AddFloat({4, 4})}, {1});
  EXPECT_NE(Refusal().find("shape=[4, 4], payload=[3, 5]"), std::string::npos);
}

TEST_F(ClaimTest, WrongEnvironment) {
  AddDense(payload_);
  setenv("TFC_ACT", "fp32", 1);
  EXPECT_NE(Refusal().find("TFC_ACT=fp32"), std::string::npos);
  unsetenv("TFC_ACT");
  setenv("TFC_KERNEL", "fast", 1);
  EXPECT_NE(Refusal().find("TFC_KERNEL=fast"), std::string::npos);
  unsetenv("TFC_KERNEL");
}

}  // namespace
}  // namespace tfc

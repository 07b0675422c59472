// The times of our ops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>

#include "delegate/profile.h"
#include "delegate_payload.h"
#include "run_test.h"

namespace tfc {
namespace {

using testing::FakeRuntime;
using testing::RandomFloats;
using testing::RandomPayload;
using testing::RunTest;

std::string Stop() {
  std::string text(tfc_profile_stop(nullptr, 0), '\0');
  EXPECT_EQ(tfc_profile_stop(text.data(), text.size()), text.size());
  return text;
}

struct Dense {
  explicit Dense(abi::Delegate* delegate) {
    x = runtime.AddFloat({2, 8});
    y = runtime.AddFloat({1, 1});
    const int weight =
        runtime.AddPayload(RandomPayload({5, 8}, 4, true, 0, 2).Bytes());
    runtime.AddNode("TfcFullyConnected", {x, weight}, {y}, {1, 0, 0});
    EXPECT_EQ(runtime.Apply(delegate), abi::kOk) << runtime.errors();
    EXPECT_EQ(runtime.Allocate(), abi::kOk) << runtime.errors();
    runtime.Set(x, RandomFloats(16, 1));
  }
  FakeRuntime runtime;
  int x, y;
};

TEST_F(RunTest, OpsAreNotedWhileSomeoneAsks) {
  Dense dense(delegate_);
  EXPECT_EQ(dense.runtime.Invoke(), abi::kOk);
  tfc_profile_start();
  EXPECT_EQ(dense.runtime.Invoke(), abi::kOk);
  EXPECT_EQ(dense.runtime.Invoke(), abi::kOk);
  const std::string text = Stop();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  long long begin = 0, end = 0;
  char op[40], node[40];
  ASSERT_EQ(std::sscanf(text.c_str(), "%lld %lld %39s (node %39[0-9])", &begin,
                        &end, op, node),
            4);
  EXPECT_LT(0, begin);
  EXPECT_LE(begin, end);
  EXPECT_STREQ(op, "TfcFullyConnected");
  EXPECT_NE(text.find("|[2, 5]\n"), std::string::npos) << text;
  EXPECT_EQ(dense.runtime.Invoke(), abi::kOk);
  EXPECT_EQ(Stop(), text);  // nothing is noted any more
  tfc_profile_start();
  EXPECT_EQ(Stop(), "");
}

TEST_F(RunTest, ThreadsNoteTheirOwnOps) {
  Dense here(delegate_), there(delegate_);
  tfc_profile_start();
  std::thread other([&] { EXPECT_EQ(there.runtime.Invoke(), abi::kOk); });
  other.join();
  EXPECT_EQ(Stop(), "");
  EXPECT_EQ(here.runtime.Invoke(), abi::kOk);
}

TEST_F(RunTest, NotesOutliveTheirOps) {
  {
    Dense dense(delegate_);
    tfc_profile_start();
    EXPECT_EQ(dense.runtime.Invoke(), abi::kOk);
  }
  EXPECT_NE(Stop().find("TfcFullyConnected"), std::string::npos);
}

}  // namespace
}  // namespace tfc

// What the tests that run a claimed graph share.
#ifndef TFCOMPRESS_TESTS_NATIVE_RUN_TEST_H_
#define TFCOMPRESS_TESTS_NATIVE_RUN_TEST_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

#include "delegate/delegate.h"
#include "fake_runtime.h"

namespace tfc::testing {

inline std::vector<float> RandomFloats(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Gives a tensor a shape that the runtime itself may refuse.
inline void ForceDims(FakeRuntime& runtime, int tensor,
                      const std::vector<int>& dims) {
  auto* array =
      static_cast<abi::IntArray*>(std::malloc(sizeof(int) * (2 + dims.size())));
  array->size = static_cast<int>(dims.size());
  std::copy(dims.begin(), dims.end(), array->data);
  std::free(runtime.tensor(tensor).dims);
  runtime.tensor(tensor).dims = array;
}

// Float arithmetic, so that results can be compared with a definition.
class RunTest : public ::testing::Test {
 protected:
  RunTest() { setenv("TFC_ACT", "float", 1); }
  ~RunTest() override {
    unsetenv("TFC_ACT");
    DeleteDelegate(delegate_);
  }

  std::vector<float> Run(FakeRuntime& runtime, int x, int y,
                         const std::vector<int>& dims,
                         const std::vector<float>& values) {
    runtime.Resize(x, dims);
    EXPECT_EQ(runtime.Allocate(), abi::kOk) << runtime.errors();
    runtime.Set(x, values);
    EXPECT_EQ(runtime.Invoke(), abi::kOk) << runtime.errors();
    return runtime.Get(y);
  }

  abi::Delegate* delegate_ = NewDelegate();
};

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_RUN_TEST_H_

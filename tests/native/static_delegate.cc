// A delegate that claims nothing and lacks AllowDynamicTensors: beside it, the
// runtime applies every delegate again after each resize.
#include <atomic>
#include <cstddef>

#include "abi/tflite_abi.h"

namespace {

std::atomic<int> applied{0};

tfc::abi::Status Apply(tfc::abi::Context*, tfc::abi::Delegate*) {
  ++applied;
  return tfc::abi::kOk;
}

}  // namespace

extern "C" {

int times_applied() { return applied; }

tfc::abi::Delegate* tflite_plugin_create_delegate(const char* const*,
                                                  const char* const*, size_t,
                                                  void (*)(const char*)) {
  auto* delegate = new tfc::abi::Delegate{};
  delegate->Prepare = Apply;
  return delegate;
}

void tflite_plugin_destroy_delegate(tfc::abi::Delegate* delegate) {
  delete delegate;
}

}  // extern "C"

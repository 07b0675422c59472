// The two entry points of an external delegate, found by name with dlsym.
#include <cstddef>
#include <exception>
#include <string>

#include "abi/tflite_abi.h"
#include "delegate/delegate.h"
#include "format/c_api.h"

TFC_EXPORT tfc::abi::Delegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count,
    void (*report_error)(const char*)) {
  try {
    if (count > 0) {
      const std::string message =
          std::string(
              "tfcompress: the delegate must be loaded without "
              "options. Received: ") +
          keys[0] + "=" + values[0] +
          ". Set TFC_ACT or TFC_KERNEL in the environment.";
      if (report_error != nullptr) report_error(message.c_str());
      return nullptr;
    }
    return tfc::NewDelegate();
  } catch (const std::exception& error) {
    if (report_error != nullptr) report_error(error.what());
    return nullptr;
  }
}

TFC_EXPORT void tflite_plugin_destroy_delegate(tfc::abi::Delegate* delegate) {
  tfc::DeleteDelegate(delegate);
}

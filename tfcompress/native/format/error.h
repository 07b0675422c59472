// The one exception of the library: what must hold, what was received, the
// remedy. It never crosses a C function; those catch it.
#ifndef TFCOMPRESS_NATIVE_FORMAT_ERROR_H_
#define TFCOMPRESS_NATIVE_FORMAT_ERROR_H_

#include <stdexcept>
#include <string>

namespace tfc {

class Error : public std::runtime_error {
 public:
  // Joins "<rule>. Received: <received>. <remedy>."; empty parts are left out.
  explicit Error(const std::string& rule, const std::string& received = "",
                 const std::string& remedy = "")
      : std::runtime_error(
            rule + "." +
            (received.empty() ? "" : " Received: " + received + ".") +
            (remedy.empty() ? "" : " " + remedy + ".")) {}

  // The same message, with where it happened in front.
  Error At(const std::string& place) const {
    return Error(std::runtime_error(place + ": " + what()));
  }

 private:
  explicit Error(const std::runtime_error& whole) : std::runtime_error(whole) {}
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_ERROR_H_

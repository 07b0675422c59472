// When each of our ops ran: what `tfcompress benchmark --profile` shows. Off
// until a thread asks for it, and then for the ops of that thread alone.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_PROFILE_H_
#define TFCOMPRESS_NATIVE_DELEGATE_PROFILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "format/c_api.h"

namespace tfc {

// Notes the time from its construction to its destruction, where it is wanted.
class Stopwatch {
 public:
  explicit Stopwatch(const std::shared_ptr<const std::string>& title);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;

 private:
  const std::shared_ptr<const std::string>& title_;
  int64_t begin_;  // 0 where nobody wants it
};

}  // namespace tfc

// Forgets what the calling thread has noted, and notes from now on.
TFC_EXPORT void tfc_profile_start();

// Stops noting. Writes a line "begin end title" per invocation of one of our
// ops on this thread, in order, times in nanoseconds of CLOCK_MONOTONIC, into
// `text` if `capacity` suffices. Returns the number of bytes of all lines.
TFC_EXPORT uint64_t tfc_profile_stop(char* text, uint64_t capacity);

#endif  // TFCOMPRESS_NATIVE_DELEGATE_PROFILE_H_

#include "format/c_api.h"

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "format/codes.h"
#include "format/error.h"
#include "format/payload.h"

const char* tfc_version() { return TFC_VERSION; }

int tfc_decode(const uint8_t* payload, size_t size, float* out, size_t count,
               char* error, size_t error_size) {
  const auto fail = [&](const char* message) {
    if (error != nullptr && error_size > 0) {
      std::snprintf(error, error_size, "%s", message);
    }
    return 1;
  };
  try {
    const tfc::Payload parsed = tfc::ParsePayload(payload, size);
    if (parsed.num_codes != count) {
      throw tfc::Error("count must be the number of codes in the payload",
                       "count=" + std::to_string(count) +
                           ", codes=" + std::to_string(parsed.num_codes));
    }
    tfc::DecodeWeights(parsed, out);
    return 0;
  } catch (const std::bad_alloc&) {
    return fail("decoding must find enough memory.");
  } catch (const std::exception& failure) {
    return fail(failure.what());
  }
}

// The C functions of the library beside those of the delegate plugin.
#ifndef TFCOMPRESS_NATIVE_FORMAT_C_API_H_
#define TFCOMPRESS_NATIVE_FORMAT_C_API_H_

#include <cstddef>
#include <cstdint>

#define TFC_EXPORT extern "C" __attribute__((visibility("default")))

// "0.1.0": the version of the package that the library belongs to.
TFC_EXPORT const char* tfc_version();

// Decodes a whole payload of `size` bytes into `count` float32 weights, in C
// order. Returns 0, or 1 with a zero-terminated message in `error` (cut to
// `error_size` bytes; may be null), and then `out` is unspecified. Thread-safe.
TFC_EXPORT int tfc_decode(const uint8_t* payload, size_t size, float* out,
                          size_t count, char* error, size_t error_size);

#endif  // TFCOMPRESS_NATIVE_FORMAT_C_API_H_

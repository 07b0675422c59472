// The C functions of the library beside those of the delegate plugin.
#ifndef TFCOMPRESS_NATIVE_FORMAT_C_API_H_
#define TFCOMPRESS_NATIVE_FORMAT_C_API_H_

#include <cstddef>
#include <cstdint>

#define TFC_EXPORT extern "C" __attribute__((visibility("default")))

// "0.1.0": the version of the package that the library belongs to.
TFC_EXPORT const char* tfc_version();

// All that follows: thread-safe; `error` receives a zero-terminated message,
// cut to `error_size` bytes, and may be null.

// Decodes a whole payload of `size` bytes, of any type, into `count` float32
// weights, in C order. Returns 0, or 1 with a message, and then `out` is
// unspecified.
TFC_EXPORT int tfc_decode(const uint8_t* payload, size_t size, float* out,
                          size_t count, char* error, size_t error_size);

// The coders of symbols, one a byte (tfcompress/codec/FORMAT.md, section 5).
// coder: 1 adaptive, 2 rANS (of the values of section 3; zeros, a, b are 0), 3
// steady.
// alphabet: symbols of the encoding. zero: the zero symbol, or -1. zeros: 0
// dense, 3 blocks of a, 4 at most a of b.

// Returns the bytes of the section, at most `capacity`, or -1 with a message.
TFC_EXPORT int64_t tfc_encode_symbols(int coder, const uint8_t* symbols,
                                      uint64_t count, int num_bits,
                                      int alphabet, int zero, uint64_t row,
                                      int zeros, uint64_t a, uint64_t b,
                                      uint8_t* out, uint64_t capacity,
                                      char* error, size_t error_size);

// Returns 0, or 1 with a message, and then `symbols` is unspecified.
TFC_EXPORT int tfc_decode_symbols(int coder, const uint8_t* section,
                                  uint64_t size, uint8_t* symbols,
                                  uint64_t count, int num_bits, int alphabet,
                                  int zero, uint64_t row, int zeros, uint64_t a,
                                  uint64_t b, char* error, size_t error_size);

#endif  // TFCOMPRESS_NATIVE_FORMAT_C_API_H_

// The functions that libFuzzer calls, and that the tests call without it.
// Each takes any bytes and returns; the sanitizers watch.
#ifndef TFCOMPRESS_TESTS_NATIVE_FUZZ_TARGETS_H_
#define TFCOMPRESS_TESTS_NATIVE_FUZZ_TARGETS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tfc::testing {

// Reads the bytes as a payload, as they are and repaired.
void FuzzContainer(const uint8_t* bytes, size_t size);

// Decodes the repaired payload in every way that there is.
void FuzzDecoder(const uint8_t* bytes, size_t size);

// Makes a graph of one op, as the first bytes say, over the payload that
// follows; claims, prepares, runs, resizes and frees it. Returns whether the op
// ran.
bool FuzzPrepare(const uint8_t* bytes, size_t size);

// With magic, length and checksum as they must be, so that damage gets as far
// as it can. Shorter than a header: unchanged.
std::vector<uint8_t> Repair(const uint8_t* bytes, size_t size);

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_FUZZ_TARGETS_H_

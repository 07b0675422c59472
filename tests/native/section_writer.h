// The coders of tfcompress/codec/FORMAT.md, sections 4 and 5, for the tests:
// slow, and with no line in common with the library's.
#ifndef TFCOMPRESS_TESTS_NATIVE_SECTION_WRITER_H_
#define TFCOMPRESS_TESTS_NATIVE_SECTION_WRITER_H_

#include <cstdint>
#include <vector>

namespace tfc::testing {

// Fields of num_bits, least significant bit first.
std::vector<uint8_t> PackFields(const std::vector<uint32_t>& fields,
                                int num_bits);

// coder 1 adaptive, 3 steady; zeros 0 dense, 3 blocks of a, 4 at most a of b;
// zero -1 for none.
std::vector<uint8_t> CodeBits(int coder, const std::vector<uint8_t>& symbols,
                              int num_bits, int zero, uint64_t row, int zeros,
                              uint64_t a, uint64_t b);

std::vector<uint8_t> CodeRans(const std::vector<uint8_t>& values, int alphabet);

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_SECTION_WRITER_H_

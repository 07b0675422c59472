// Writes payloads for the tests, from tfcompress/codec/FORMAT.md and with no
// line in common with the reader.
#ifndef TFCOMPRESS_TESTS_NATIVE_PAYLOAD_WRITER_H_
#define TFCOMPRESS_TESTS_NATIVE_PAYLOAD_WRITER_H_

#include <cstdint>
#include <vector>

namespace tfc::testing {

struct Weight {
  std::vector<uint64_t> dims;
  int num_bits = 4;
  std::vector<uint8_t> symbols;
  int channel_axis = 0;  // -1: one scale
  std::vector<float> scales;
  std::vector<float> codebook;  // empty: uniform

  int ZeroSymbol() const;
  std::vector<float> Floats() const;  // by the formula of the format
};

// Random symbols, half of them zero, and random scales.
Weight RandomWeight(std::vector<uint64_t> dims, int num_bits, bool palette,
                    int channel_axis, uint32_t seed);

std::vector<uint8_t> WritePayload(const Weight& weight, bool entropy_coded);

// Makes the checksum of a changed payload right again.
void Reseal(std::vector<uint8_t>& payload);

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_PAYLOAD_WRITER_H_

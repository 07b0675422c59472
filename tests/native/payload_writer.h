// Writes payloads for the tests, from tfcompress/codec/FORMAT.md and with no
// line in common with the reader.
#ifndef TFCOMPRESS_TESTS_NATIVE_PAYLOAD_WRITER_H_
#define TFCOMPRESS_TESTS_NATIVE_PAYLOAD_WRITER_H_

#include <cstdint>
#include <vector>

namespace tfc::testing {

// Coders 0 plain, 1 adaptive, 2 rANS; zeros 0 dense, 1 bitmap, 2 run-length, 3
// blocks, 4 n:m; types 0 float32, 1 int8, 2 int4, 3 float16.
struct Weight {
  std::vector<uint64_t> dims;
  uint8_t encoding = 1, num_bits = 4, type = 0;
  std::vector<uint8_t> symbols;  // of encoding 6, the exponents
  uint64_t granularity = 0, block = 0;
  std::vector<float> scales = {};
  std::vector<float> codebook = {};
  std::vector<float> bias = {};
  std::vector<uint32_t> raw = {};  // of encoding 6, fields of num_bits - 8 bits

  int SymbolBits() const { return encoding == 6 ? 8 : num_bits; }
  int Alphabet() const;
  int ZeroSymbol() const;             // or -1
  std::vector<float> Floats() const;  // by the formula of the format
};

// How a weight is written. Of run-length `b` is counted by the writer.
struct Form {
  int coder, zeros;
  uint64_t a, b;
};

// Random symbols; of every group of four at most two are not zero, where there
// is a zero. `granularity` as in the format, 2 with a block of half a row where
// `blocks`.
Weight RandomWeight(std::vector<uint64_t> dims, int encoding, int num_bits,
                    uint64_t granularity, uint32_t seed, bool blocks = false);

// Every form that RandomWeight's zeros allow.
std::vector<Form> FormsOf(const Weight& weight);

std::vector<uint8_t> WritePayload(const Weight& weight, const Form& form);

// A payload of these sections, whatever they are.
std::vector<uint8_t> WriteSections(const Weight& weight, const Form& form,
                                   const std::vector<uint8_t>& side,
                                   const std::vector<uint8_t>& codes);

// Makes the checksum of a changed payload right again.
void Reseal(std::vector<uint8_t>& payload);

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_PAYLOAD_WRITER_H_

// Reads the payload of tfcompress/codec/FORMAT.md, sections 1 and 2.
#ifndef TFCOMPRESS_NATIVE_FORMAT_PAYLOAD_H_
#define TFCOMPRESS_NATIVE_FORMAT_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "format/reader.h"
#include "format/symbols.h"

namespace tfc {

enum class Encoding : uint8_t {
  kUniform = 1,
  kPalette,
  kTernary,
  kBinary,
  kPowerOfTwo,
  kFloat
};

enum class Coder : uint8_t { kPlain, kAdaptive, kRans, kSteady };

// The coders of bits have no side section.
inline bool CodesBits(Coder coder) {
  return coder == Coder::kAdaptive || coder == Coder::kSteady;
}

// Of the decoded tensor.
enum class ElementType : uint8_t { kFloat32, kInt8, kInt4, kFloat16 };

inline constexpr int kNoChannelAxis = -1;

// The header: every field has been checked against every other, and the
// checksum holds. What the sections hold is checked when they are decoded.
struct Payload {
  Encoding encoding;
  Coder coder;
  Zeros zeros;
  ElementType type;
  int num_bits;
  std::vector<uint64_t> dims;
  uint64_t num_codes;         // product of dims, below 2^40
  int channel_axis;           // or kNoChannelAxis
  uint64_t block;             // codes that share a scale along a row, or 0
  std::vector<float> scales;  // empty: all are 1
  std::vector<float> levels;  // one a symbol; empty for kFloat
  std::vector<float> bias;
  uint64_t zeros_a, zeros_b;
  Bytes side, codes;  // inside the bytes that were parsed
  Bytes raw;          // of kFloat, padding included

  uint64_t Row() const { return num_codes / dims[0]; }
  int SymbolBits() const { return encoding == Encoding::kFloat ? 8 : num_bits; }
  int Alphabet() const;    // number of symbols
  int ZeroSymbol() const;  // or kNoZeroSymbol
  // Code i has scale number i / ScaleStride() % scales.size().
  uint64_t ScaleStride() const;
  SymbolLayout Layout() const;
};

// Whether the bytes start with the magic and a length equal to `size`: the
// cheap test that these bytes are a whole payload at all.
bool LooksLikePayload(const uint8_t* bytes, uint64_t size);

// Throws Error on any contradiction. `bytes` may have any alignment and must
// outlive the result.
Payload ParsePayload(const uint8_t* bytes, uint64_t size);

// "[3, 5]"
std::string ShapeText(const std::vector<uint64_t>& dims);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_PAYLOAD_H_

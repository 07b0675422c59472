// Reads the payload of tfcompress/codec/FORMAT.md, section 1.
#ifndef TFCOMPRESS_NATIVE_FORMAT_PAYLOAD_H_
#define TFCOMPRESS_NATIVE_FORMAT_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tfc {

enum class Encoding : uint8_t { kUniform = 1, kPalette = 2 };

inline constexpr int kNoChannelAxis = -1;
inline constexpr int kNoZeroSymbol = -1;

// Every field has been checked against every other, and the checksum holds.
struct Payload {
  Encoding encoding;
  int num_bits;
  bool entropy_coded;
  std::vector<uint64_t> dims;
  uint64_t num_codes;  // product of dims, below 2^40
  int channel_axis;    // or kNoChannelAxis
  std::vector<float> scales;
  std::vector<float> codebook;  // empty for uniform codes
  const uint8_t* codes;         // points into the bytes that were parsed
  uint64_t codes_size;

  int ZeroSymbol() const;  // or kNoZeroSymbol
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

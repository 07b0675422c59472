// The adaptive binary range decoder of tfcompress/codec/FORMAT.md, section 3.
#ifndef TFCOMPRESS_NATIVE_FORMAT_RANGE_DECODER_H_
#define TFCOMPRESS_NATIVE_FORMAT_RANGE_DECODER_H_

#include <algorithm>
#include <array>
#include <cstdint>

namespace tfc {

struct BitModel {
  uint16_t zero_probability = 32768;  // in units of 2^-16
  uint16_t bits_seen = 0;
};

class RangeDecoder {
 public:
  RangeDecoder(const uint8_t* bytes, uint64_t size)
      : next_(bytes), end_(bytes + size) {
    for (int i = 0; i < 4; ++i) code_ = (code_ << 8) | NextByte();
  }

  // An encoder's number stays below the range; everything else follows.
  bool Possible() const { return code_ < range_; }

  // Bytes that the encoder can have written for the bits decoded so far.
  uint64_t BytesWritten() const { return bytes_shifted_ + 1; }

  int Bit(BitModel& model) {
    const uint32_t p = model.zero_probability;
    const uint32_t rate = kRates[model.bits_seen];
    const uint32_t bound = (range_ >> 12) * std::max<uint32_t>(p >> 4, 1);
    const int bit = code_ >= bound;
    if (bit) {
      code_ -= bound;
      range_ -= bound;
      model.zero_probability = static_cast<uint16_t>(p - ((p * rate) >> 16));
    } else {
      range_ = bound;
      model.zero_probability =
          static_cast<uint16_t>(p + (((65536 - p) * rate) >> 16));
    }
    model.bits_seen += model.bits_seen < 255;
    while (range_ < (1u << 24)) {
      range_ <<= 8;
      code_ = (code_ << 8) | NextByte();
      ++bytes_shifted_;
    }
    return bit;
  }

 private:
  static constexpr std::array<uint16_t, 256> MakeRates() {
    std::array<uint16_t, 256> rates{};
    for (uint32_t k = 0; k < 256; ++k) {
      rates[k] = static_cast<uint16_t>(131072 / (2 * k + 3));
    }
    return rates;
  }
  static const std::array<uint16_t, 256> kRates;

  uint8_t NextByte() { return next_ < end_ ? *next_++ : 0; }

  const uint8_t* next_;
  const uint8_t* end_;
  uint64_t bytes_shifted_ = 0;
  uint32_t code_ = 0;
  uint32_t range_ = 0xFFFFFFFFu;
};

inline constexpr std::array<uint16_t, 256> RangeDecoder::kRates =
    RangeDecoder::MakeRates();

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_RANGE_DECODER_H_

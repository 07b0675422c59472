// A binary range coder with models that follow what they see
// (tfcompress/codec/FORMAT.md, section 5.1).
//
// Encoder and decoder have one face, so that what they code is written once:
// Bit(model, bit) codes the bit and gives it back, or ignores it and gives the
// one that was coded.
#ifndef TFCOMPRESS_NATIVE_FORMAT_BIT_CODER_H_
#define TFCOMPRESS_NATIVE_FORMAT_BIT_CODER_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace tfc {

// Remembers the last 256 bits.
class AdaptiveModel {
 public:
  uint32_t BoundOf(uint32_t range) const {
    return (range >> 12) * std::max<uint32_t>(zero_probability_ >> 4, 1);
  }

  void Adapt(uint32_t bit) {
    const uint32_t p = zero_probability_, rate = kRates[bits_seen_];
    zero_probability_ = static_cast<uint16_t>(
        bit ? p - ((p * rate) >> 16) : p + (((65536 - p) * rate) >> 16));
    bits_seen_ += bits_seen_ < kRates.size() - 1;
  }

 private:
  static constexpr std::array<uint16_t, 256> kRates = [] {
    std::array<uint16_t, 256> rates{};
    for (uint32_t k = 0; k < 256; ++k) {
      rates[k] = static_cast<uint16_t>(131072 / (2 * k + 3));
    }
    return rates;
  }();

  uint16_t zero_probability_ = 32768;  // in units of 2^-16
  uint16_t bits_seen_ = 0;
};

// Remembers the last 16,384 bits.
class SteadyModel {
 public:
  uint32_t BoundOf(uint32_t range) const {
    const uint32_t p = std::max<uint32_t>(zero_probability_ >> 12, 1);
    return static_cast<uint32_t>((uint64_t{range} * p) >> 16);
  }

  void Adapt(uint32_t bit) {
    const uint64_t rate = (1u << 25) / (2 * bits_seen_ + 3);
    const uint32_t p = zero_probability_;
    zero_probability_ =
        bit ? p - static_cast<uint32_t>((p * rate) >> 24)
            : p + static_cast<uint32_t>((((1u << 28) - p) * rate) >> 24);
    bits_seen_ += bits_seen_ < 16383;
  }

 private:
  uint32_t zero_probability_ = 1u << 27;  // in units of 2^-28
  uint32_t bits_seen_ = 0;
};

inline constexpr uint32_t kLowestRange = 1u << 24;

class BitEncoder {
 public:
  static constexpr bool kEncodes = true;

  bool Ended() const { return false; }

  template <typename Model>
  uint32_t Bit(Model& model, uint32_t bit) {
    const uint32_t bound = model.BoundOf(range_);
    if (bit) {
      low_ += bound;
      range_ -= bound;
      if (low_ > 0xFFFFFFFFu) Carry();
    } else {
      range_ = bound;
    }
    model.Adapt(bit);
    while (range_ < kLowestRange) {
      bytes_.push_back(static_cast<uint8_t>(low_ >> 24));
      low_ = (low_ << 8) & 0xFFFFFFFFu;
      range_ <<= 8;
    }
    return bit;
  }

  // The shortest number inside the interval.
  std::vector<uint8_t> Finish() {
    uint64_t last = (low_ + 0xFFFFFFu) >> 24;
    if (last == 256) {
      last = 0;
      Carry();
    }
    bytes_.push_back(static_cast<uint8_t>(last));
    while (!bytes_.empty() && bytes_.back() == 0) bytes_.pop_back();
    return std::move(bytes_);
  }

 private:
  void Carry() {
    low_ &= 0xFFFFFFFFu;
    size_t i = bytes_.size();
    while (bytes_[--i] == 255) bytes_[i] = 0;
    ++bytes_[i];
  }

  std::vector<uint8_t> bytes_;
  uint64_t low_ = 0;
  uint32_t range_ = 0xFFFFFFFFu;
};

class BitDecoder {
 public:
  static constexpr bool kEncodes = false;

  BitDecoder(const uint8_t* bytes, uint64_t size)
      : next_(bytes), end_(bytes + size) {
    for (int i = 0; i < 4; ++i) code_ = (code_ << 8) | NextByte();
  }

  // The encoder's number is smaller than its range, and stays so.
  bool Possible() const { return code_ < range_; }

  // Whether every further bit is 0.
  bool Ended() const { return code_ == 0 && next_ == end_; }

  // No encoder writes a section that needs so many zeros past its end.
  bool Overrun() const { return overrun_; }

  template <typename Model>
  uint32_t Bit(Model& model, uint32_t) {
    const uint32_t bound = model.BoundOf(range_);
    const uint32_t bit = code_ >= bound;
    if (bit) {
      code_ -= bound;
      range_ -= bound;
    } else {
      range_ = bound;
    }
    model.Adapt(bit);
    while (range_ < kLowestRange) {
      range_ <<= 8;
      code_ = (code_ << 8) | NextByte();
    }
    return bit;
  }

 private:
  static constexpr int kPastEnd = 20;

  uint8_t NextByte() {
    if (next_ < end_) return *next_++;
    if (past_end_ <= kPastEnd && ++past_end_ > kPastEnd && code_ != 0) {
      overrun_ = true;
    }
    return 0;
  }

  const uint8_t* next_;
  const uint8_t* end_;
  int past_end_ = 0;
  bool overrun_ = false;
  uint32_t code_ = 0;
  uint32_t range_ = 0xFFFFFFFFu;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_BIT_CODER_H_

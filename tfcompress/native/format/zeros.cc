#include "format/zeros.h"

#include <cstring>
#include <string>

#include "format/error.h"
#include "format/packed_bits.h"

namespace tfc {
namespace {

uint64_t CountOnes(const Payload& payload, uint64_t num_bits) {
  BitReader side(payload.side);
  uint64_t ones = 0;
  for (uint64_t i = 0; i < num_bits; ++i) ones += side.Take(1);
  side.End("side");
  return ones;
}

uint64_t CountRuns(const Payload& payload) {
  const int num_bits = int(payload.zeros_a);
  const uint32_t longest = (1u << num_bits) - 1;
  BitReader side(payload.side);
  uint64_t position = 0, values = 0;
  uint32_t entry = 0;
  for (uint64_t i = 0; i < payload.zeros_b; ++i) {
    entry = side.Take(num_bits);
    values += entry != longest;
    position += entry + (entry != longest);
  }
  side.End("side");
  if (payload.zeros_b > 0 && entry == longest) {
    throw Error("a run-length form must not end in zeros",
                Number("last entry", entry));
  }
  if (position > payload.num_codes) {
    throw Error("a run-length form must stay within its symbols",
                Number("symbols", payload.num_codes) + ", " +
                    Number("position", position));
  }
  return values;
}

// Takes values from behind the place where symbols are written: as many values
// as symbols are left, or fewer, so none is overwritten before it is taken.
class Spreader {
 public:
  Spreader(const Payload& payload, uint64_t num_values, uint8_t* symbols)
      : payload_(payload),
        side_(payload.side),
        zero_(uint8_t(payload.ZeroSymbol())),
        next_value_(symbols + payload.num_codes - num_values),
        next_(symbols),
        end_(symbols + payload.num_codes) {}

  void Bitmap() {
    while (next_ < end_) {
      *next_++ = side_.Take(1) ? TakeNonzero() : zero_;
    }
  }

  void RunLength() {
    const int num_bits = int(payload_.zeros_a);
    const uint32_t longest = (1u << num_bits) - 1;
    for (uint64_t i = 0; i < payload_.zeros_b; ++i) {
      const uint32_t entry = side_.Take(num_bits);
      PutZeros(entry);
      if (entry != longest) *next_++ = TakeNonzero();
    }
    PutZeros(uint64_t(end_ - next_));
  }

  void Blocks() {
    const uint64_t size = payload_.zeros_a;
    while (next_ < end_) {
      if (!side_.Take(1)) {
        PutZeros(size);
        continue;
      }
      bool found = false;
      for (uint64_t i = 0; i < size; ++i) {
        const uint8_t value = *next_value_++;
        found |= value != zero_;
        *next_++ = value;
      }
      if (!found) {
        throw Error("a block that is written must have a nonzero symbol");
      }
    }
  }

  void Groups() {
    const uint64_t kept = payload_.zeros_a, size = payload_.zeros_b;
    const int num_bits = PositionBits(size);
    for (; next_ < end_; next_ += size) {
      uint8_t group[32];
      std::memset(group, zero_, size);
      uint32_t listed = 0;
      for (uint64_t i = 0; i < kept; ++i) {
        const uint32_t position = side_.Take(num_bits);
        if (listed >> position != 0) {
          throw Error("the positions of a group of n:m zeros must ascend",
                      Number("position", position));
        }
        listed |= 1u << position;
        group[position] = *next_value_++;
      }
      CheckFilling(group, listed, size);
      std::memcpy(next_, group, size);
    }
  }

 private:
  uint8_t TakeNonzero() {
    const uint8_t value = *next_value_++;
    if (value == zero_) {
      throw Error("every value of a bitmap or run-length form must be nonzero");
    }
    return value;
  }

  void PutZeros(uint64_t count) {
    std::memset(next_, zero_, count);
    next_ += count;
  }

  // Zeros that fill a group up come before its other zeros.
  void CheckFilling(const uint8_t* group, uint32_t listed, uint64_t size) {
    bool other = false;
    for (uint64_t i = 0; i < size; ++i) {
      if (group[i] != zero_) continue;
      if ((listed >> i & 1) == 0) {
        other = true;
      } else if (other) {
        throw Error(
            "a group of n:m zeros must be filled up with its first "
            "zeros",
            Number("position", i));
      }
    }
  }

  const Payload& payload_;
  BitReader side_;
  const uint8_t zero_;
  const uint8_t* next_value_;
  uint8_t* next_;
  uint8_t* const end_;
};

}  // namespace

uint64_t CountValues(const Payload& payload) {
  const uint64_t a = payload.zeros_a, b = payload.zeros_b;
  switch (payload.zeros) {
    case Zeros::kDense:
      break;
    case Zeros::kBitmap:
      return CountOnes(payload, payload.num_codes);
    case Zeros::kRunLength:
      return CountRuns(payload);
    case Zeros::kBlocks:
      return CountOnes(payload, payload.num_codes / a) * a;
    case Zeros::kNOfM: {
      const uint64_t values = payload.num_codes / b * a;
      const uint64_t used = values * uint64_t(PositionBits(b)) % 8;
      if (used != 0 && payload.side.data[payload.side.size - 1] >> used != 0) {
        throw Error("the unused bits of a side section must be 0");
      }
      return values;
    }
  }
  return payload.num_codes;
}

void SpreadValues(const Payload& payload, uint64_t num_values,
                  uint8_t* symbols) {
  Spreader spreader(payload, num_values, symbols);
  switch (payload.zeros) {
    case Zeros::kDense:
      return;
    case Zeros::kBitmap:
      return spreader.Bitmap();
    case Zeros::kRunLength:
      return spreader.RunLength();
    case Zeros::kBlocks:
      return spreader.Blocks();
    case Zeros::kNOfM:
      return spreader.Groups();
  }
}

}  // namespace tfc

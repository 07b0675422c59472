#include "format/codes.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "format/adaptive.h"
#include "format/error.h"
#include "format/packed_bits.h"
#include "format/rans.h"
#include "format/zeros.h"

namespace tfc {
namespace {

void UnpackValues(const Payload& payload, uint8_t* values, uint64_t count) {
  const int num_bits = payload.SymbolBits();
  const uint64_t packed = PackedSize(count, num_bits);
  if (payload.codes.size != packed) {
    throw Error("codes_size must be ceil(values * num_bits / 8)",
                Number("codes_size", payload.codes.size) + ", " +
                    Number("expected", packed));
  }
  const uint32_t mask = (1u << num_bits) - 1;
  const uint8_t* next = payload.codes.data;
  uint64_t i = 0;
  // Eight fields are num_bits whole bytes.
  for (; (count - i) * uint64_t(num_bits) >= 64; i += 8, next += num_bits) {
    uint64_t eight;
    std::memcpy(&eight, next, sizeof(eight));
    for (int k = 0; k < 8; ++k, eight >>= num_bits) {
      values[i + k] = uint8_t(eight & mask);
    }
  }
  BitReader rest({next, 0});
  for (; i < count; ++i) values[i] = uint8_t(rest.Take(num_bits));
  rest.End("codes");
}

void RequireKnown(const Payload& payload, const uint8_t* values,
                  uint64_t count) {
  const int alphabet = payload.Alphabet();
  if (alphabet == 1 << payload.SymbolBits() || count == 0) return;
  const uint8_t largest = *std::max_element(values, values + count);
  if (largest >= alphabet) {
    throw Error(
        "a code must be smaller than the number of symbols",
        Number("code", largest) + ", " + Number("symbols", uint64_t(alphabet)));
  }
}

void DecodeValues(const Payload& payload, uint8_t* values, uint64_t count) {
  if (payload.coder == Coder::kRans) {
    return DecodeRans(payload.codes.data, payload.codes.size,
                      payload.Alphabet(), values, count);
  }
  UnpackValues(payload, values, count);
  RequireKnown(payload, values, count);
}

}  // namespace

std::vector<uint8_t> DecodeSymbols(const Payload& payload) {
  std::vector<uint8_t> symbols(payload.num_codes);
  if (CodesBits(payload.coder)) {
    const Memory memory =
        payload.coder == Coder::kSteady ? Memory::kSteady : Memory::kAdaptive;
    DecodeAdaptive(payload.Layout(), memory, payload.codes.data,
                   payload.codes.size, symbols.data());
    return symbols;
  }
  const uint64_t num_values = CountValues(payload);
  DecodeValues(payload, symbols.data() + symbols.size() - num_values,
               num_values);
  SpreadValues(payload, num_values, symbols.data());
  return symbols;
}

}  // namespace tfc

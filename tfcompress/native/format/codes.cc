#include "format/codes.h"

#include <string>

#include "format/error.h"
#include "format/range_decoder.h"

namespace tfc {
namespace {

std::vector<uint8_t> UnpackSymbols(const Payload& payload) {
  std::vector<uint8_t> symbols(payload.num_codes);
  const uint32_t mask = (1u << payload.num_bits) - 1;
  const uint8_t* next = payload.codes;
  uint32_t pending = 0;
  int pending_bits = 0;
  for (uint8_t& symbol : symbols) {
    if (pending_bits < payload.num_bits) {
      pending |= static_cast<uint32_t>(*next++) << pending_bits;
      pending_bits += 8;
    }
    symbol = static_cast<uint8_t>(pending & mask);
    pending >>= payload.num_bits;
    pending_bits -= payload.num_bits;
  }
  if (pending != 0) {
    throw Error("the unused bits of a codes section must be 0",
                "bits=" + std::to_string(pending));
  }
  return symbols;
}

// Every symbol is one walk through the tree; zeros have a short cut of one bit
// in the context of three neighbours.
class SymbolDecoder {
 public:
  explicit SymbolDecoder(const Payload& payload)
      : coder_(payload.codes, payload.codes_size),
        tree_(size_t{1} << payload.num_bits),
        leaves_(1u << payload.num_bits),
        zero_(payload.ZeroSymbol()) {
    if (zero_ != kNoZeroSymbol) known_node_ = (leaves_ + zero_) >> 1;
  }

  void Decode(uint64_t row, std::vector<uint8_t>& symbols) {
    uint32_t nonzero_1 = 1, nonzero_2 = 1;  // the two codes before this one
    for (uint64_t i = 0; i < symbols.size(); ++i) {
      if (zero_ == kNoZeroSymbol) {
        symbols[i] = Walk();
        continue;
      }
      const uint32_t above = i < row || symbols[i - row] != zero_;
      const uint32_t nonzero =
          coder_.Bit(zero_models_[nonzero_1 + 2 * nonzero_2 + 4 * above]);
      symbols[i] = nonzero ? Walk() : static_cast<uint8_t>(zero_);
      nonzero_2 = nonzero_1;
      nonzero_1 = nonzero;
    }
  }

  const RangeDecoder& coder() const { return coder_; }

 private:
  uint8_t Walk() {
    uint32_t node = 1;
    while (node < leaves_) {
      const uint32_t bit =
          node == known_node_ ? 1 - (zero_ & 1) : coder_.Bit(tree_[node]);
      node = 2 * node + bit;
    }
    return static_cast<uint8_t>(node - leaves_);
  }

  RangeDecoder coder_;
  std::vector<BitModel> tree_;
  BitModel zero_models_[8];
  uint32_t leaves_;
  int zero_;
  uint32_t known_node_ = 0;  // its last bit follows: the symbol is not zero
};

std::vector<uint8_t> DecodeEntropyCoded(const Payload& payload) {
  SymbolDecoder decoder(payload);
  if (!decoder.coder().Possible()) {
    throw Error("an entropy-coded section must start below 0xFFFFFFFF");
  }
  std::vector<uint8_t> symbols(payload.num_codes);
  decoder.Decode(payload.num_codes / payload.dims[0], symbols);
  const uint64_t size = payload.codes_size;
  if (size > decoder.coder().BytesWritten() ||
      (size > 0 && payload.codes[size - 1] == 0)) {
    throw Error("an entropy-coded section must end with its last code",
                "codes_size=" + std::to_string(size) + ", bytes used=" +
                    std::to_string(decoder.coder().BytesWritten()));
  }
  return symbols;
}

}  // namespace

std::vector<uint8_t> DecodeSymbols(const Payload& payload) {
  std::vector<uint8_t> symbols = payload.entropy_coded
                                     ? DecodeEntropyCoded(payload)
                                     : UnpackSymbols(payload);
  if (payload.encoding == Encoding::kPalette) {
    for (const uint8_t symbol : symbols) {
      if (symbol >= payload.codebook.size()) {
        throw Error("a code must be below codebook_size",
                    "code=" + std::to_string(symbol) + ", codebook_size=" +
                        std::to_string(payload.codebook.size()));
      }
    }
  }
  return symbols;
}

void DecodeWeights(const Payload& payload, float* out) {
  const std::vector<uint8_t> symbols = DecodeSymbols(payload);
  std::vector<float> levels = payload.codebook;
  if (payload.encoding == Encoding::kUniform) {
    for (int s = 0; s < 1 << payload.num_bits; ++s) {
      levels.push_back(static_cast<float>(s - payload.ZeroSymbol()));
    }
  }
  uint64_t inner =
      payload.num_codes;  // codes that follow each other with one scale
  if (payload.channel_axis != kNoChannelAxis) {
    for (int axis = 0; axis <= payload.channel_axis; ++axis) {
      inner /= payload.dims[axis];
    }
  }
  size_t channel = 0;
  for (uint64_t start = 0; start < symbols.size(); start += inner) {
    const float scale = payload.scales[channel];
    for (uint64_t i = start; i < start + inner; ++i) {
      out[i] = scale * levels[symbols[i]];
    }
    channel = channel + 1 == payload.scales.size() ? 0 : channel + 1;
  }
}

}  // namespace tfc

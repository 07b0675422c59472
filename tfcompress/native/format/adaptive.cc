#include "format/adaptive.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "format/bit_coder.h"
#include "format/error.h"

namespace tfc {
namespace {

// The symbols of one section, in the order in which the format codes them. With
// a BitEncoder `symbols` is read, with a BitDecoder it is written.
template <typename Coder, typename Model>
class Walk {
  // Symbols or blocks between two looks at whether the section has ended: a few
  // bytes can stand for very many zeros.
  static constexpr uint64_t kStretch = 4096;

 public:
  Walk(const SymbolLayout& layout, uint8_t* symbols, Coder& coder)
      : layout_(layout),
        symbols_(symbols),
        coder_(coder),
        tree_(size_t{1} << layout.num_bits) {
    const uint32_t leaves = 1u << layout_.num_bits;
    if (layout_.zero_symbol >= 0) {
      sibling_ = (leaves + uint32_t(layout_.zero_symbol)) >> 1;
      known_bit_ = 1 - (uint32_t(layout_.zero_symbol) & 1);
    }
  }

  void Run() {
    switch (layout_.zeros) {
      case Zeros::kDense:
        return Dense();
      case Zeros::kBlocks:
        return Blocks();
      case Zeros::kNOfM:
        return Groups();
      case Zeros::kBitmap:
      case Zeros::kRunLength:
        break;  // refused by SymbolLayout::Check
    }
  }

 private:
  void Dense() {
    for (uint64_t first = 0; first < layout_.count; first += kStretch) {
      if (coder_.Ended()) return SetZeros(first, layout_.count - first);
      const uint64_t last = std::min(first + kStretch, layout_.count);
      if (layout_.zero_symbol < 0) {
        for (uint64_t i = first; i < last; ++i) Leaf(i);
      } else {
        for (uint64_t i = first; i < last; ++i) Symbol(i, ContextOf(i));
      }
    }
  }

  void Blocks() {
    const uint64_t block = layout_.a, per_row = layout_.row / block;
    const uint64_t num_blocks = layout_.count / block;
    const auto written = std::make_unique<uint8_t[]>(num_blocks);
    for (uint64_t k = 0; k < num_blocks; ++k) {
      const uint64_t first = k * block;
      if (k % kStretch == 0 && coder_.Ended()) {
        return SetZeros(first, layout_.count - first);
      }
      const uint32_t before = k == 0 ? 1 : written[k - 1];
      const uint32_t above = k < per_row ? 1 : written[k - per_row];
      const uint32_t wanted = Coder::kEncodes && AnyNonzero(first, block);
      written[k] = uint8_t(coder_.Bit(blocks_[before + 2 * above], wanted));
      if (!written[k]) {
        SetZeros(first, block);
        continue;
      }
      bool found = false;
      for (uint64_t i = first; i < first + block; ++i) {
        found |= Symbol(i, ContextOf(i));
      }
      if (!found) {
        throw Error("a block that is written must have a nonzero symbol",
                    "block=" + std::to_string(k));
      }
    }
  }

  void Groups() {
    for (uint64_t first = 0; first < layout_.count; first += layout_.b) {
      if (first % kStretch == 0 && coder_.Ended()) {
        return SetZeros(first, layout_.count - first);
      }
      uint32_t nonzero = 0;
      for (uint64_t i = first; i < first + layout_.b; ++i) {
        if (nonzero == layout_.a) {
          SetZero(i);
        } else {
          nonzero += Symbol(i, nonzero);
        }
      }
    }
  }

  uint32_t Nonzero(uint64_t i, uint64_t back) const {
    return i < back || symbols_[i - back] != layout_.zero_symbol;
  }

  uint32_t ContextOf(uint64_t i) const {
    return Nonzero(i, 1) + 2 * Nonzero(i, 2) + 4 * Nonzero(i, layout_.row);
  }

  uint32_t AnyNonzero(uint64_t first, uint64_t count) const {
    for (uint64_t i = first; i < first + count; ++i) {
      if (symbols_[i] != layout_.zero_symbol) return 1;
    }
    return 0;
  }

  void SetZero(uint64_t i) { symbols_[i] = uint8_t(layout_.zero_symbol); }

  // What bits that are all 0 decode to; the first symbol where none is zero.
  void SetZeros(uint64_t first, uint64_t count) {
    std::memset(symbols_ + first, std::max(layout_.zero_symbol, 0), count);
  }

  // Codes one symbol; whether it is not the zero symbol.
  bool Symbol(uint64_t i, uint32_t context) {
    const uint32_t wanted = symbols_[i] != layout_.zero_symbol;
    if (!coder_.Bit(zeros_[context], wanted)) {
      SetZero(i);
      return false;
    }
    Leaf(i);
    return true;
  }

  void Leaf(uint64_t i) {
    const uint32_t leaves = 1u << layout_.num_bits, wanted = symbols_[i];
    uint32_t node = 1;
    for (int shift = layout_.num_bits - 1; node < leaves; --shift) {
      const uint32_t bit = node == sibling_
                               ? known_bit_
                               : coder_.Bit(tree_[node], wanted >> shift & 1);
      node = 2 * node + bit;
    }
    symbols_[i] = uint8_t(node - leaves);
    largest_ |= node - leaves >= uint32_t(layout_.alphabet);
  }

 public:
  // Whether a symbol was met that the encoding does not have.
  bool Strange() const { return largest_; }

 private:
  const SymbolLayout layout_;
  uint8_t* const symbols_;
  Coder& coder_;
  std::vector<Model> tree_;
  Model zeros_[32], blocks_[4];
  uint32_t sibling_ = 0, known_bit_ = 0;
  bool largest_ = false;
};

template <typename Model>
std::vector<uint8_t> Encode(const SymbolLayout& layout,
                            const uint8_t* symbols) {
  // The walk writes back what it reads.
  std::vector<uint8_t> copy(symbols, symbols + layout.count);
  BitEncoder encoder;
  Walk<BitEncoder, Model> walk(layout, copy.data(), encoder);
  walk.Run();
  if (walk.Strange()) {
    throw Error("every symbol must be smaller than the alphabet");
  }
  for (uint64_t i = 0; i < layout.count; ++i) {
    if (copy[i] != symbols[i]) {
      throw Error("every group must have at most a nonzero symbols",
                  "a=" + std::to_string(layout.a));
    }
  }
  return encoder.Finish();
}

template <typename Model>
void Decode(const SymbolLayout& layout, const uint8_t* section, uint64_t size,
            uint8_t* symbols) {
  if (size > 0 && section[size - 1] == 0) {
    throw Error("an entropy-coded section must not end in a zero byte",
                "codes_size=" + std::to_string(size));
  }
  BitDecoder decoder(section, size);
  if (!decoder.Possible()) {
    throw Error(
        "an entropy-coded section must not start with four bytes of "
        "255");
  }
  Walk<BitDecoder, Model> walk(layout, symbols, decoder);
  walk.Run();
  if (decoder.Overrun()) {
    throw Error("a section of bits must have bytes for its symbols",
                "codes_size=" + std::to_string(size));
  }
  if (walk.Strange()) {
    throw Error("every symbol must be smaller than the alphabet",
                "alphabet=" + std::to_string(layout.alphabet));
  }
}

}  // namespace

std::vector<uint8_t> EncodeAdaptive(const SymbolLayout& layout, Memory memory,
                                    const uint8_t* symbols) {
  return memory == Memory::kSteady ? Encode<SteadyModel>(layout, symbols)
                                   : Encode<AdaptiveModel>(layout, symbols);
}

void DecodeAdaptive(const SymbolLayout& layout, Memory memory,
                    const uint8_t* section, uint64_t size, uint8_t* symbols) {
  if (memory == Memory::kSteady) {
    Decode<SteadyModel>(layout, section, size, symbols);
  } else {
    Decode<AdaptiveModel>(layout, section, size, symbols);
  }
}

}  // namespace tfc

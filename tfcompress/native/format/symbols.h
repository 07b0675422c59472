// What the coders of symbols share (tfcompress/codec/FORMAT.md, sections 3 to
// 5).
#ifndef TFCOMPRESS_NATIVE_FORMAT_SYMBOLS_H_
#define TFCOMPRESS_NATIVE_FORMAT_SYMBOLS_H_

#include <cstdint>

namespace tfc {

enum class Zeros : uint8_t { kDense, kBitmap, kRunLength, kBlocks, kNOfM };

inline constexpr int kNoZeroSymbol = -1;

// A sequence of symbols, one a byte, and how its zeros lie.
struct SymbolLayout {
  uint64_t count;
  int num_bits;     // 1 to 8
  int alphabet;     // a symbol is smaller; at most 2^num_bits
  int zero_symbol;  // or kNoZeroSymbol
  uint64_t row;     // symbols of one index of the first dim
  Zeros zeros;      // not dense only with a zero symbol
  uint64_t a, b;    // blocks of a; at most a of b are not zero

  // Throws Error when the fields contradict one another for the adaptive coder,
  // which knows dense zeros, blocks and n:m.
  void Check() const;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_SYMBOLS_H_

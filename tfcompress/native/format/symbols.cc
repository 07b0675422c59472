#include "format/symbols.h"

#include <string>

#include "format/error.h"

namespace tfc {

void SymbolLayout::Check() const {
  const bool sized = num_bits >= 1 && num_bits <= 8 && alphabet >= 1 &&
                     alphabet <= 1 << num_bits && zero_symbol >= -1 &&
                     zero_symbol < alphabet && row >= 1;
  if (!sized) {
    throw Error("num_bits, alphabet, zero symbol and row must go together",
                "num_bits=" + std::to_string(num_bits) +
                    ", alphabet=" + std::to_string(alphabet) +
                    ", zero=" + std::to_string(zero_symbol) +
                    ", row=" + std::to_string(row));
  }
  if (zeros == Zeros::kDense) return;
  const bool known = zeros == Zeros::kBlocks || zeros == Zeros::kNOfM;
  const uint64_t unit = zeros == Zeros::kBlocks ? a : b;
  const bool grouped = zeros == Zeros::kBlocks || (a >= 1 && a < b && b <= 32);
  if (!known || !grouped || zero_symbol < 0 || unit < 1 || row % unit != 0 ||
      count % unit != 0) {
    throw Error("the form of zeros must go with the symbols",
                "zeros=" + std::to_string(static_cast<int>(zeros)) +
                    ", a=" + std::to_string(a) + ", b=" + std::to_string(b) +
                    ", row=" + std::to_string(row) +
                    ", count=" + std::to_string(count));
  }
}

}  // namespace tfc

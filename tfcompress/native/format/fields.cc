#include "format/fields.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "format/error.h"
#include "format/packed_bits.h"

namespace tfc {
namespace {

constexpr uint64_t kMaxCodes = uint64_t{1} << 40;
constexpr uint64_t kMaxRank = 8;

struct Widths {
  int narrowest, widest;
};

// Of num_bits, by encoding.
constexpr Widths kWidths[] = {{0, 0}, {2, 8}, {1, 8}, {2, 2},
                              {1, 1}, {3, 6}, {9, 32}};

bool IsInteger(ElementType type) {
  return type == ElementType::kInt8 || type == ElementType::kInt4;
}

// A few bytes can stand for any number of zeros. The other half of the memory
// is not ours: where none is left the system kills a process, with no error to
// catch.
void CheckMemory(const Payload& payload) {
  const uint64_t memory =
      uint64_t(sysconf(_SC_PAGE_SIZE)) * uint64_t(sysconf(_SC_PHYS_PAGES));
  const uint64_t each = payload.encoding == Encoding::kFloat ? 12 : 6;
  if (each * payload.num_codes > memory / 2) {
    throw Error("a payload's weight must fit into half of the machine's memory",
                "shape=" + ShapeText(payload.dims));
  }
}

void TakeGranularity(Reader& reader, Payload& payload, SectionSizes& sizes) {
  const uint64_t granularity = reader.TakeUvarint("granularity");
  if (granularity > payload.dims.size() + 1) {
    throw Error("a payload's granularity must be 0 to rank + 1",
                Number("granularity", granularity) + ", " +
                    Number("rank", payload.dims.size()));
  }
  const bool bare =
      payload.encoding == Encoding::kFloat || IsInteger(payload.type);
  if (bare && granularity != 0) {
    throw Error("a payload's granularity must be 0 for floats and integers",
                Number("granularity", granularity));
  }
  payload.channel_axis =
      granularity < 2 ? kNoChannelAxis : int(granularity) - 2;
  sizes.scales = granularity < 2 ? granularity : payload.dims[granularity - 2];
  payload.block = reader.TakeUvarint("block");
  if (payload.block == 0) return;
  const uint64_t row = payload.Row();
  if (granularity != 2 || payload.block < 2 || payload.block >= row ||
      row % payload.block != 0) {
    throw Error(
        "a payload's block must be 0 or divide a row, with granularity 2",
        Number("block", payload.block) + ", " + Number("row", row) + ", " +
            Number("granularity", granularity));
  }
  sizes.scales = payload.num_codes / payload.block;
}

void TakeCodebookSize(Reader& reader, const Payload& payload,
                      SectionSizes& sizes) {
  sizes.codebook = reader.TakeUvarint("codebook_size");
  const bool palette = payload.encoding == Encoding::kPalette;
  const uint64_t largest = palette ? uint64_t{1} << payload.num_bits : 0;
  if (sizes.codebook < (palette ? 1 : 0) || sizes.codebook > largest) {
    throw Error(
        "a payload's codebook_size must be 1 to 2^num_bits (palette) or 0",
        Number("codebook_size", sizes.codebook) + ", " +
            Number("num_bits", uint64_t(payload.num_bits)));
  }
}

void TakeBiasSize(Reader& reader, const Payload& payload, SectionSizes& sizes) {
  sizes.bias = reader.TakeUvarint("bias_size");
  if (sizes.bias == 0) return;
  if (sizes.bias != payload.dims[0] || IsInteger(payload.type)) {
    throw Error(
        "a payload's bias_size must be 0 or the first dim, and 0 for integers",
        Number("bias_size", sizes.bias) + ", " +
            Number("dims[0]", payload.dims[0]));
  }
}

// The bytes that the side section must have.
uint64_t SideSize(const Payload& payload) {
  const uint64_t n = payload.num_codes, a = payload.zeros_a;
  const uint64_t b = payload.zeros_b;
  if (CodesBits(payload.coder)) return 0;
  switch (payload.zeros) {
    case Zeros::kDense:
      break;
    case Zeros::kBitmap:
      return PackedSize(n, 1);
    case Zeros::kRunLength:
      return PackedSize(b, int(a));
    case Zeros::kBlocks:
      return PackedSize(n / a, 1);
    case Zeros::kNOfM:
      return PackedSize(n / b * a, PositionBits(b));
  }
  return 0;
}

void TakeZeros(Reader& reader, Payload& payload) {
  if (payload.zeros == Zeros::kDense || payload.zeros == Zeros::kBitmap) return;
  const uint64_t a = payload.zeros_a = reader.TakeUvarint("zeros_a");
  const uint64_t b = payload.zeros_b = reader.TakeUvarint("zeros_b");
  const uint64_t row = payload.Row();
  bool good = false;
  if (payload.zeros == Zeros::kRunLength) {
    good = a >= 1 && a <= 8 && b <= payload.num_codes;
  } else if (payload.zeros == Zeros::kBlocks) {
    good = a >= 2 && row % a == 0 && b == 0;
  } else {
    good = (b == 4 || b == 8 || b == 16 || b == 32) && row % b == 0 && a >= 1 &&
           a < b;
  }
  if (!good) {
    throw Error("a payload's zeros_a and zeros_b must fit its form and row",
                Number("zeros", uint64_t(payload.zeros)) + ", " +
                    Number("zeros_a", a) + ", " + Number("zeros_b", b) + ", " +
                    Number("row", row));
  }
}

}  // namespace

void SetFixedFields(const uint8_t* bytes, Payload& payload) {
  const uint8_t encoding = bytes[1], num_bits = bytes[2], form = bytes[3];
  if (encoding < 1 || encoding > uint8_t(Encoding::kFloat)) {
    throw Error("a payload's encoding must be 1 to 6",
                Number("encoding", encoding));
  }
  payload.encoding = Encoding(encoding);
  const Widths widths = kWidths[encoding];
  if (num_bits < widths.narrowest || num_bits > widths.widest) {
    throw Error(
        "a payload's num_bits must be " + std::to_string(widths.narrowest) +
            " to " + std::to_string(widths.widest) + " for its encoding",
        Number("num_bits", num_bits) + ", " + Number("encoding", encoding));
  }
  payload.num_bits = num_bits;
  const int coder = form & 3, zeros = form >> 2 & 7;
  if (zeros > int(Zeros::kNOfM) || form > 127) {
    throw Error("a payload's form must hold zeros of 0 to 4 and bit 7 of 0",
                Number("form", form));
  }
  payload.coder = Coder(coder);
  payload.zeros = Zeros(zeros);
  payload.type = ElementType(form >> 5);
  if (payload.encoding == Encoding::kFloat && IsInteger(payload.type)) {
    throw Error("a payload of integers must have an encoding of 1 to 5",
                Number("encoding", encoding) + ", " + Number("form", form));
  }
  if (CodesBits(payload.coder) &&
      (payload.zeros == Zeros::kBitmap || payload.zeros == Zeros::kRunLength)) {
    throw Error("a coder of bits must go with dense zeros, blocks or n:m",
                Number("form", form));
  }
}

void TakeDims(Reader& reader, Payload& payload) {
  const uint64_t rank = reader.TakeUvarint("rank");
  if (rank < 1 || rank > kMaxRank) {
    throw Error("a payload's rank must be 1 to 8", Number("rank", rank));
  }
  payload.num_codes = 1;
  for (uint64_t axis = 0; axis < rank; ++axis) {
    const uint64_t dim = reader.TakeUvarint("dims");
    if (dim < 1 || dim > (kMaxCodes - 1) / payload.num_codes) {
      throw Error("a payload's dims must be >= 1 with a product below 2^40",
                  Number("dim", dim));
    }
    payload.num_codes *= dim;
    payload.dims.push_back(dim);
  }
  CheckMemory(payload);
}

SectionSizes TakeSizes(Reader& reader, Payload& payload) {
  SectionSizes sizes{};
  TakeGranularity(reader, payload, sizes);
  TakeCodebookSize(reader, payload, sizes);
  TakeBiasSize(reader, payload, sizes);
  TakeZeros(reader, payload);
  sizes.side = reader.TakeUvarint("side_size");
  if (sizes.side != SideSize(payload)) {
    throw Error("a payload's side_size must follow from its zeros",
                Number("side_size", sizes.side) + ", " +
                    Number("expected", SideSize(payload)));
  }
  sizes.codes = reader.TakeUvarint("codes_size");
  return sizes;
}

void CheckScales(const std::vector<float>& scales) {
  for (const float scale : scales) {
    if (!std::isfinite(scale) || scale == 0) {
      throw Error("a payload's scales must be finite and not 0",
                  "scale=" + std::to_string(scale));
    }
  }
}

void CheckCodebook(const std::vector<float>& codebook) {
  for (size_t i = 0; i < codebook.size(); ++i) {
    const bool negative_zero = codebook[i] == 0 && std::signbit(codebook[i]);
    const bool ascending = i == 0 || codebook[i - 1] < codebook[i];
    if (!std::isfinite(codebook[i]) || negative_zero || !ascending) {
      throw Error(
          "a codebook must be finite, strictly ascending, without -0.0",
          "codebook[" + std::to_string(i) + "]=" + std::to_string(codebook[i]));
    }
  }
}

void CheckPadding(const Bytes& padding) {
  const bool zero = padding.size <= 3 &&
                    std::all_of(padding.data, padding.data + padding.size,
                                [](uint8_t byte) { return byte == 0; });
  if (!zero) {
    throw Error("a payload's padding must be 0 to 3 zero bytes",
                Number("bytes", padding.size));
  }
}

}  // namespace tfc

#include "format/payload.h"

#include <cmath>
#include <cstring>

#include "format/crc32c.h"
#include "format/error.h"

namespace tfc {
namespace {

constexpr char kMagic[4] = {'T', 'F', 'C', 'W'};
constexpr uint64_t kLengthOffset =
    12;  // magic, crc and the four one-byte fields
constexpr uint64_t kCrcStart = 8;
constexpr uint64_t kMaxCodes = uint64_t{1} << 40;
constexpr uint64_t kMaxRank = 8;
constexpr uint8_t kVersion = 1;
constexpr uint8_t kEntropyCodedFlag = 1;

std::string Number(const char* name, uint64_t value) {
  return std::string(name) + "=" + std::to_string(value);
}

// Takes fields off the front of the bytes and never reads past the end.
class Reader {
 public:
  Reader(const uint8_t* bytes, uint64_t size, uint64_t position)
      : bytes_(bytes), size_(size), position_(position) {}

  uint64_t Remaining() const { return size_ - position_; }

  const uint8_t* Take(uint64_t count, const char* what) {
    if (count > Remaining()) {
      throw Error(std::string("a payload must hold its ") + what,
                  Number("bytes needed", count) + ", " +
                      Number("bytes left", Remaining()),
                  "The file is truncated or damaged; write it again");
    }
    const uint8_t* taken = bytes_ + position_;
    position_ += count;
    return taken;
  }

  // Unsigned LEB128 in its shortest form, below 2^63.
  uint64_t TakeUvarint(const char* what) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint8_t byte = *Take(1, what);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) {
        if (byte == 0 && shift > 0) break;  // a shorter form exists
        return value;
      }
    }
    throw Error(std::string("a payload's ") + what +
                " must be the shortest LEB128 of a number below 2^63");
  }

  std::vector<float> TakeFloats(uint64_t count, const char* what) {
    const uint8_t* taken = Take(count * sizeof(float), what);
    std::vector<float> values(count);
    if (count > 0) std::memcpy(values.data(), taken, count * sizeof(float));
    return values;
  }

 private:
  const uint8_t* bytes_;
  uint64_t size_;
  uint64_t position_;
};

void TakeLength(Reader& reader, uint64_t size) {
  const uint64_t length = reader.TakeUvarint("length");
  if (length != size || length % 4 != 0) {
    throw Error(
        "a payload's length must be its number of bytes, a multiple of 4",
        Number("length", length) + ", " + Number("bytes", size),
        "The file is truncated or damaged; write it again");
  }
}

void CheckCrc(const uint8_t* bytes, uint64_t size) {
  uint32_t stored;
  std::memcpy(&stored, bytes + sizeof(kMagic), sizeof(stored));
  const uint32_t computed = Crc32c(bytes + kCrcStart, size - kCrcStart);
  if (stored != computed) {
    throw Error("a payload's CRC-32C must match its bytes",
                Number("stored", stored) + ", " + Number("computed", computed),
                "The file is damaged; write it again");
  }
}

void TakeFixedFields(const uint8_t* bytes, Payload& payload) {
  const uint8_t version = bytes[8], encoding = bytes[9];
  const uint8_t num_bits = bytes[10], flags = bytes[11];
  if (version != kVersion) {
    throw Error("a payload's version must be 1", Number("version", version),
                "Use the tfcompress release that wrote the file");
  }
  if (encoding != static_cast<uint8_t>(Encoding::kUniform) &&
      encoding != static_cast<uint8_t>(Encoding::kPalette)) {
    throw Error("a payload's encoding must be 1 (uniform) or 2 (palette)",
                Number("encoding", encoding));
  }
  payload.encoding = static_cast<Encoding>(encoding);
  const int narrowest = payload.encoding == Encoding::kUniform ? 2 : 1;
  if (num_bits < narrowest || num_bits > 8) {
    throw Error("num_bits must be 2 to 8 (uniform) or 1 to 8 (palette)",
                Number("num_bits", num_bits));
  }
  payload.num_bits = num_bits;
  if ((flags & ~kEntropyCodedFlag) != 0) {
    throw Error("a payload's flags must be 0 or 1", Number("flags", flags));
  }
  payload.entropy_coded = (flags & kEntropyCodedFlag) != 0;
}

void TakeDims(Reader& reader, Payload& payload) {
  const uint64_t rank = reader.TakeUvarint("rank");
  if (rank < 1 || rank > kMaxRank) {
    throw Error("a payload's rank must be 1 to 8", Number("rank", rank));
  }
  payload.num_codes = 1;
  for (uint64_t axis = 0; axis < rank; ++axis) {
    const uint64_t dim = reader.TakeUvarint("dims");
    if (dim < 1 || dim >= kMaxCodes || payload.num_codes * dim >= kMaxCodes) {
      throw Error("a payload's dims must be >= 1 with a product below 2^40",
                  Number("dim", dim));
    }
    payload.num_codes *= dim;
    payload.dims.push_back(dim);
  }
  const uint64_t axis_plus_1 = reader.TakeUvarint("channel_axis");
  if (axis_plus_1 > rank) {
    throw Error(
        "a payload's channel axis must be one of its dims",
        Number("channel_axis + 1", axis_plus_1) + ", " + Number("rank", rank));
  }
  payload.channel_axis = static_cast<int>(axis_plus_1) - 1;
}

uint64_t TakeCodebookSize(Reader& reader, const Payload& payload) {
  const uint64_t size = reader.TakeUvarint("codebook_size");
  const bool palette = payload.encoding == Encoding::kPalette;
  const uint64_t largest = palette ? uint64_t{1} << payload.num_bits : 0;
  if (size < (palette ? 1 : 0) || size > largest) {
    throw Error(
        "codebook_size must be 1 to 2^num_bits (palette) or 0 (uniform)",
        Number("codebook_size", size));
  }
  return size;
}

void TakeCodesSize(Reader& reader, Payload& payload) {
  payload.codes_size = reader.TakeUvarint("codes_size");
  const uint64_t packed = (payload.num_codes * payload.num_bits + 7) / 8;
  if (!payload.entropy_coded && payload.codes_size != packed) {
    throw Error("codes_size must be ceil(n * num_bits / 8)",
                Number("codes_size", payload.codes_size) + ", " +
                    Number("expected", packed));
  }
}

void CheckScales(const std::vector<float>& scales) {
  for (const float scale : scales) {
    if (!(std::isfinite(scale) && scale > 0)) {
      throw Error("scales must be finite and positive",
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

void CheckPadding(Reader& reader) {
  const uint64_t count = reader.Remaining();
  const uint8_t* padding = reader.Take(count, "padding");
  bool zero = true;
  for (uint64_t i = 0; zero && i < count; ++i) zero = padding[i] == 0;
  if (count > 3 || !zero) {
    throw Error("a payload's padding must be 0 to 3 zero bytes",
                Number("bytes", count));
  }
}

}  // namespace

int Payload::ZeroSymbol() const {
  if (encoding == Encoding::kUniform) return 1 << (num_bits - 1);
  for (size_t i = 0; i < codebook.size(); ++i) {
    if (codebook[i] == 0) return static_cast<int>(i);
  }
  return kNoZeroSymbol;
}

bool LooksLikePayload(const uint8_t* bytes, uint64_t size) {
  if (size <= kLengthOffset) return false;
  if (std::memcmp(bytes, kMagic, sizeof(kMagic)) != 0) return false;
  try {
    Reader reader(bytes, size, kLengthOffset);
    return reader.TakeUvarint("length") == size;
  } catch (const Error&) {
    return false;
  }
}

Payload ParsePayload(const uint8_t* bytes, uint64_t size) {
  if (size <= kLengthOffset ||
      std::memcmp(bytes, kMagic, sizeof(kMagic)) != 0) {
    throw Error("a payload must start with TFCW", Number("bytes", size),
                "The tensor is no tfcompress payload, or the file is damaged");
  }
  Payload payload{};
  Reader reader(bytes, size, kLengthOffset);
  TakeLength(reader, size);
  CheckCrc(bytes, size);
  TakeFixedFields(bytes, payload);
  TakeDims(reader, payload);
  const uint64_t codebook_size = TakeCodebookSize(reader, payload);
  TakeCodesSize(reader, payload);
  const uint64_t num_scales = payload.channel_axis == kNoChannelAxis
                                  ? 1
                                  : payload.dims[payload.channel_axis];
  payload.scales = reader.TakeFloats(num_scales, "scales");
  CheckScales(payload.scales);
  payload.codebook = reader.TakeFloats(codebook_size, "codebook");
  CheckCodebook(payload.codebook);
  payload.codes = reader.Take(payload.codes_size, "codes");
  CheckPadding(reader);
  return payload;
}

std::string ShapeText(const std::vector<uint64_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  }
  return text + "]";
}

}  // namespace tfc

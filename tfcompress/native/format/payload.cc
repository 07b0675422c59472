#include "format/payload.h"

#include <algorithm>
#include <cstring>

#include "format/crc32c.h"
#include "format/error.h"
#include "format/fields.h"

namespace tfc {
namespace {

constexpr char kMagic[4] = {'T', 'F', 'C', 'W'};
// Magic, CRC and the four one-byte fields.
constexpr uint64_t kLengthOffset = 12;
constexpr uint64_t kCrcStart = 8;
constexpr uint8_t kVersion = 1;

void CheckVersion(uint8_t version) {
  if (version == kVersion) return;
  throw Error("a payload's version must be 1", Number("version", version),
              "Use the tfcompress release that wrote the file, or a later one");
}

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

std::vector<float> LevelsOf(const Payload& payload) {
  std::vector<float> levels;
  const int half = 1 << (payload.num_bits - 1);
  switch (payload.encoding) {
    case Encoding::kTernary:
      return {-1, 0, 1};
    case Encoding::kBinary:
      return {-1, 1};
    case Encoding::kUniform:
      for (int d = -half; d < half; ++d) levels.push_back(float(d));
      break;
    case Encoding::kPowerOfTwo:
      for (int d = -half; d < half; ++d) {
        const float power = d == 0 ? 0 : float(1u << (std::abs(d) - 1));
        levels.push_back(d < 0 ? -power : power);
      }
      break;
    case Encoding::kPalette:
    case Encoding::kFloat:
      break;
  }
  return levels;
}

}  // namespace

int Payload::Alphabet() const {
  return encoding == Encoding::kFloat ? 256 : int(levels.size());
}

int Payload::ZeroSymbol() const {
  if (encoding == Encoding::kFloat) return 0;
  const auto zero = std::find(levels.begin(), levels.end(), 0.f);
  return zero == levels.end() ? kNoZeroSymbol : int(zero - levels.begin());
}

uint64_t Payload::ScaleStride() const {
  if (block != 0) return block;
  uint64_t stride = num_codes;
  for (int axis = 0; axis <= channel_axis; ++axis) stride /= dims[axis];
  return stride;
}

SymbolLayout Payload::Layout() const {
  return {num_codes, SymbolBits(), Alphabet(), ZeroSymbol(),
          Row(),     zeros,        zeros_a,    zeros_b};
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
  CheckVersion(bytes[kCrcStart]);
  Reader reader(bytes, size, kLengthOffset);
  TakeLength(reader, size);
  CheckCrc(bytes, size);
  Payload payload{};
  SetFixedFields(bytes + kCrcStart, payload);
  TakeDims(reader, payload);
  const SectionSizes sizes = TakeSizes(reader, payload);
  payload.scales = reader.TakeFloats(sizes.scales, "scales");
  CheckScales(payload.scales);
  payload.levels = reader.TakeFloats(sizes.codebook, "codebook");
  CheckCodebook(payload.levels);
  if (sizes.codebook == 0) payload.levels = LevelsOf(payload);
  payload.bias = reader.TakeFloats(sizes.bias, "bias");
  payload.side = reader.Take(sizes.side, "side section");
  payload.codes = reader.Take(sizes.codes, "codes section");
  const Bytes rest = reader.Take(reader.Remaining(), "padding");
  if (payload.encoding == Encoding::kFloat) {
    payload.raw = rest;
  } else {
    CheckPadding(rest);
  }
  if (payload.zeros != Zeros::kDense && payload.ZeroSymbol() == kNoZeroSymbol) {
    throw Error("zeros must be dense where no symbol is zero",
                Number("zeros", uint64_t(payload.zeros)));
  }
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

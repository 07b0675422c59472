#include <cstring>

#include "format/crc32c.h"
#include "fuzz/targets.h"

namespace tfc::testing {
namespace {

constexpr size_t kLengthOffset = 12;

std::vector<uint8_t> Uvarint(size_t value) {
  std::vector<uint8_t> field;
  for (; value >= 128; value >>= 7) field.push_back(uint8_t(value | 128));
  field.push_back(uint8_t(value));
  return field;
}

}  // namespace

std::vector<uint8_t> Repair(const uint8_t* bytes, size_t size) {
  size_t body = kLengthOffset;  // behind the length that is there
  while (body < size && (bytes[body] & 128) != 0) ++body;
  if (++body >= size) return std::vector<uint8_t>(bytes, bytes + size);
  for (size_t width = 1;; ++width) {  // the length counts itself
    const size_t length = (kLengthOffset + width + (size - body) + 3) / 4 * 4;
    const std::vector<uint8_t> field = Uvarint(length);
    if (field.size() != width) continue;
    std::vector<uint8_t> out(bytes, bytes + kLengthOffset);
    out.insert(out.end(), field.begin(), field.end());
    out.insert(out.end(), bytes + body, bytes + size);
    out.resize(length);
    std::memcpy(out.data(), "TFCW", 4);
    const uint32_t crc = Crc32c(out.data() + 8, out.size() - 8);
    std::memcpy(out.data() + 4, &crc, sizeof(crc));
    return out;
  }
}

}  // namespace tfc::testing

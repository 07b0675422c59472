// Takes fields off the front of the bytes of a payload.
#ifndef TFCOMPRESS_NATIVE_FORMAT_READER_H_
#define TFCOMPRESS_NATIVE_FORMAT_READER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "format/error.h"

namespace tfc {

struct Bytes {
  const uint8_t* data = nullptr;
  uint64_t size = 0;
};

// "name=value"
inline std::string Number(const char* name, uint64_t value) {
  return std::string(name) + "=" + std::to_string(value);
}

// Never reads past the end, and takes no memory that the bytes do not fill.
class Reader {
 public:
  Reader(const uint8_t* bytes, uint64_t size, uint64_t position)
      : bytes_(bytes), size_(size), position_(position) {}

  uint64_t Remaining() const { return size_ - position_; }

  Bytes Take(uint64_t count, const char* what) {
    if (count > Remaining()) {
      throw Error(std::string("a payload must hold its ") + what,
                  Number("bytes needed", count) + ", " +
                      Number("bytes left", Remaining()),
                  "The file is truncated or damaged; write it again");
    }
    const Bytes taken{bytes_ + position_, count};
    position_ += count;
    return taken;
  }

  // Unsigned LEB128 in its shortest form, below 2^63.
  uint64_t TakeUvarint(const char* what) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint8_t byte = *Take(1, what).data;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) {
        if (byte == 0 && shift > 0) break;  // a shorter form exists
        return value;
      }
    }
    throw Error(std::string("a payload's ") + what +
                " must be the shortest LEB128 of a number below 2^63");
  }

  // `count` is below 2^40.
  std::vector<float> TakeFloats(uint64_t count, const char* what) {
    const Bytes taken = Take(count * sizeof(float), what);
    std::vector<float> values(count);
    if (count > 0) std::memcpy(values.data(), taken.data, taken.size);
    return values;
  }

 private:
  const uint8_t* bytes_;
  uint64_t size_;
  uint64_t position_;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_READER_H_

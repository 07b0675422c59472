#include "format/rans.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <string>

#include "format/error.h"

namespace tfc {
namespace {

constexpr uint32_t kTableBits = 12, kTotal = 1u << kTableBits;
constexpr uint32_t kLanes = 32;
constexpr uint32_t kLowest = 1u << 16;

// The table of an encoder: how often each symbol occurs, in units of 1/4096.
std::vector<uint32_t> FrequenciesOf(const std::vector<uint64_t>& counts,
                                    uint64_t total) {
  std::vector<uint32_t> f(counts.size(), 0);
  int64_t missing = kTotal;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] == 0) continue;
    f[s] = std::max<uint32_t>(1, uint32_t(counts[s] * kTotal / total));
    missing -= f[s];
  }
  if (missing > 0) {
    std::vector<size_t> order(counts.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return counts[a] * kTotal % total > counts[b] * kTotal % total;
    });
    for (int64_t i = 0; i < missing; ++i) ++f[order[size_t(i)]];
  }
  for (; missing < 0; ++missing) --*std::max_element(f.begin(), f.end());
  return f;
}

void Store32(uint32_t value, std::vector<uint8_t>* bytes) {
  for (int shift = 0; shift < 32; shift += 8) {
    bytes->push_back(uint8_t(value >> shift));
  }
}

// Table and states of a section, and where its words start.
struct Header {
  std::array<uint32_t, kTotal> slots;  // symbol << 24 | f - 1 << 12 | offset
  std::array<uint32_t, kLanes> states;
  uint64_t words_at;
  int only_symbol = -1;  // that has all of the table
};

Header ReadHeader(const uint8_t* section, uint64_t size, int alphabet) {
  Header header;
  uint64_t at = 0;
  uint32_t sum = 0;
  for (uint32_t s = 0; s < uint32_t(alphabet); ++s) {
    uint32_t f = at < size ? section[at++] : kTotal + 1;
    if (f >= 0x80 && f < 0x100) {
      const uint32_t high = at < size ? section[at++] : 0;
      f = high == 0 ? kTotal + 1 : (f & 0x7F) | high << 7;
    }
    if (f > kTotal - sum) {
      throw Error(
          "every frequency of a rANS section must be a uvarint, and their sum "
          "4096");
    }
    for (uint32_t offset = 0; offset < f; ++offset) {
      header.slots[sum + offset] = s << 24 | (f - 1) << kTableBits | offset;
    }
    if (f == kTotal) header.only_symbol = int(s);
    sum += f;
  }
  if (sum != kTotal || size - at < 4 * kLanes) {
    throw Error(
        "a rANS section must have a table that sums to 4096, and its "
        "states",
        "sum=" + std::to_string(sum));
  }
  for (uint32_t& state : header.states) {
    std::memcpy(&state, section + at, 4);
    at += 4;
    if (state < kLowest) {
      throw Error("every rANS state must be 65536 or more",
                  "state=" + std::to_string(state));
    }
  }
  if ((size - at) % 2 != 0) {
    throw Error("the rANS words must take an even number of bytes");
  }
  header.words_at = at;
  return header;
}

inline uint32_t Step(uint32_t x, const Header& header, uint8_t* value) {
  const uint32_t slot = header.slots[x & (kTotal - 1)];
  *value = uint8_t(slot >> 24);
  return ((slot >> kTableBits & (kTotal - 1)) + 1) * (x >> kTableBits) +
         (slot & (kTotal - 1));
}

inline uint32_t Load16(const uint8_t* at) {
  uint16_t word;
  std::memcpy(&word, at, 2);
  return word;
}

}  // namespace

std::vector<uint8_t> EncodeRans(const uint8_t* values, uint64_t count,
                                int alphabet) {
  if (count == 0) return {};
  std::vector<uint64_t> counts(256, 0);
  for (uint64_t i = 0; i < count; ++i) ++counts[values[i]];
  for (size_t s = size_t(alphabet); s < counts.size(); ++s) {
    if (counts[s] != 0) {
      throw Error("every value must be smaller than the alphabet",
                  "value=" + std::to_string(s));
    }
  }
  counts.resize(size_t(alphabet));
  const std::vector<uint32_t> f = FrequenciesOf(counts, count);
  std::vector<uint32_t> start(f.size(), 0);
  for (size_t s = 1; s < f.size(); ++s) start[s] = start[s - 1] + f[s - 1];

  std::array<uint32_t, kLanes> states;
  states.fill(kLowest);
  std::vector<uint16_t> words;  // in the order of writing
  for (uint64_t j = count; j-- > 0;) {
    uint32_t& x = states[j % kLanes];
    const uint32_t frequency = f[values[j]];
    if (x >= uint64_t{frequency} << 20) {
      words.push_back(uint16_t(x));
      x >>= 16;
    }
    x = (x / frequency << kTableBits) + x % frequency + start[values[j]];
  }

  std::vector<uint8_t> section;
  for (const uint32_t frequency : f) {
    if (frequency >= 0x80) section.push_back(uint8_t(frequency | 0x80));
    section.push_back(uint8_t(frequency < 0x80 ? frequency : frequency >> 7));
  }
  for (const uint32_t state : states) Store32(state, &section);
  for (size_t i = words.size(); i-- > 0;) {
    section.push_back(uint8_t(words[i]));
    section.push_back(uint8_t(words[i] >> 8));
  }
  return section;
}

void DecodeRans(const uint8_t* section, uint64_t size, int alphabet,
                uint8_t* values, uint64_t count) {
  if (count == 0) {
    if (size != 0) throw Error("a section without values must be empty");
    return;
  }
  Header header = ReadHeader(section, size, alphabet);
  if (header.only_symbol >= 0) {
    // Its steps change no state. A few bytes can stand for very many.
    std::memset(values, header.only_symbol, count);
    count = 0;
  }
  const uint8_t* word = section + header.words_at;
  const uint8_t* const end = section + size;
  std::array<uint32_t, kLanes>& states = header.states;
  uint64_t j = 0;
  // Whole steps, while each lane may take a word.
  for (; count - j >= kLanes && end - word >= 2 * int64_t{kLanes};
       j += kLanes) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      uint32_t x = Step(states[lane], header, values + j + lane);
      const uint32_t refill = x < kLowest;
      const uint32_t filled = x << 16 | Load16(word);
      x = refill ? filled : x;
      word += 2 * refill;
      states[lane] = x;
    }
  }
  for (; j < count; ++j) {
    uint32_t x = Step(states[j % kLanes], header, values + j);
    if (x < kLowest) {
      if (word == end) throw Error("a rANS section must hold every word");
      x = x << 16 | Load16(word);
      word += 2;
    }
    states[j % kLanes] = x;
  }
  if (word != end) throw Error("a rANS section must hold no further words");
  for (const uint32_t state : states) {
    if (state != kLowest) {
      throw Error("every rANS state must end as 65536",
                  "state=" + std::to_string(state));
    }
  }
}

}  // namespace tfc

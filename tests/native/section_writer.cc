#include "section_writer.h"

#include <algorithm>

namespace tfc::testing {
namespace {

// p is in units of 2^-16 for the adaptive coder, of 2^-28 for the steady one.
struct Model {
  explicit Model(int coder) : steady(coder == 3), p(steady ? 1 << 27 : 32768) {}

  uint64_t Bound(uint64_t range) const {
    return steady ? range * std::max(uint64_t{1}, p >> 12) >> 16
                  : (range >> 12) *
                        std::min(uint64_t{4095}, std::max(uint64_t{1}, p >> 4));
  }

  void See(int bit) {
    const uint64_t rate = (steady ? 1 << 25 : 131072) / (2 * k + 3);
    const int shift = steady ? 24 : 16;
    const uint64_t one = steady ? 1 << 28 : 65536;
    p = bit == 0 ? p + ((one - p) * rate >> shift) : p - (p * rate >> shift);
    k = std::min(k + 1, uint64_t{steady ? 16383u : 255u});
  }

  bool steady;
  uint64_t p, k = 0;
};

class RangeEncoder {
 public:
  void Bit(Model& model, int bit) {
    const uint64_t bound = model.Bound(range_);
    if (bit == 0) {
      range_ = bound;
    } else {
      low_ += bound;
      range_ -= bound;
    }
    model.See(bit);
    for (; range_ < 1 << 24; range_ <<= 8) Shift();
  }

  std::vector<uint8_t> Finish() {
    low_ = (low_ + 0xFFFFFF) >> 24 << 24;
    Shift();
    while (!out_.empty() && out_.back() == 0) out_.pop_back();
    return out_;
  }

 private:
  void Shift() {
    if (low_ >> 32) {  // carry
      for (size_t i = out_.size(); ++out_[--i] == 0;) continue;
    }
    out_.push_back(uint8_t(low_ >> 24));
    low_ = low_ << 8 & 0xFFFFFFFFu;
  }

  uint64_t low_ = 0, range_ = 0xFFFFFFFFu;
  std::vector<uint8_t> out_;
};

// The word order of the file: what is written last comes first.
void PutBack(std::vector<uint8_t>& words, uint32_t word) {
  words.insert(words.begin(), {uint8_t(word), uint8_t(word >> 8)});
}

}  // namespace

std::vector<uint8_t> PackFields(const std::vector<uint32_t>& fields,
                                int num_bits) {
  std::vector<uint8_t> out((fields.size() * size_t(num_bits) + 7) / 8);
  for (size_t i = 0; i < fields.size() * size_t(num_bits); ++i) {
    const uint32_t field = fields[i / size_t(num_bits)];
    if (field >> i % size_t(num_bits) & 1) out[i / 8] |= uint8_t(1 << i % 8);
  }
  return out;
}

std::vector<uint8_t> CodeBits(int coder, const std::vector<uint8_t>& symbols,
                              int num_bits, int zero, uint64_t row, int zeros,
                              uint64_t a, uint64_t b) {
  RangeEncoder encoder;
  std::vector<Model> zero_models(32, Model(coder));
  std::vector<Model> block_models(4, Model(coder));
  std::vector<Model> tree(size_t{1} << num_bits, Model(coder));
  const auto nonzero = [&](int64_t j) {
    return j < 0 || symbols[size_t(j)] != zero ? 1u : 0u;
  };
  const auto written = [&](int64_t j) {
    if (j < 0) return 1u;
    uint32_t any = 0;
    for (int64_t i = j; i < j + int64_t(a); ++i) any |= nonzero(i);
    return any;
  };
  const auto r = int64_t(row), block = int64_t(a);
  for (int64_t i = 0; i < int64_t(symbols.size()); ++i) {
    const int s = symbols[size_t(i)];
    if (zeros == 3 && i % block == 0) {
      encoder.Bit(block_models[written(i - block) + 2 * written(i - r)],
                  int(written(i)));
    }
    if (zeros == 3 && !written(i / block * block)) continue;
    if (zero >= 0) {
      uint32_t context =
          nonzero(i - 1) + 2 * nonzero(i - 2) + 4 * nonzero(i - r);
      if (zeros == 4) {
        context = 0;
        for (int64_t j = i / int64_t(b) * int64_t(b); j < i; ++j) {
          context += nonzero(j);
        }
        if (context == a) continue;
      }
      encoder.Bit(zero_models[context], s != zero);
      if (s == zero) continue;
    }
    int node = 1;
    for (int depth = num_bits - 1; depth >= 0; --depth) {
      const int bit = s >> depth & 1;
      const bool sibling_is_zero = depth == 0 && zero >= 0 && (s ^ 1) == zero;
      if (!sibling_is_zero) encoder.Bit(tree[size_t(node)], bit);
      node = 2 * node + bit;
    }
  }
  return encoder.Finish();
}

std::vector<uint8_t> CodeRans(const std::vector<uint8_t>& values,
                              int alphabet) {
  if (values.empty()) return {};
  const uint64_t v = values.size();
  const auto n = size_t(alphabet);
  std::vector<uint64_t> counts(n), f(n);
  for (const uint8_t value : values) ++counts[value];
  uint64_t sum = 0;
  for (size_t s = 0; s < n; ++s) {
    if (counts[s]) f[s] = std::max<uint64_t>(1, 4096 * counts[s] / v);
    sum += f[s];
  }
  std::vector<bool> raised(n);
  for (; sum < 4096; ++sum) {
    size_t best = n;
    for (size_t s = 0; s < n; ++s) {
      if (raised[s]) continue;
      if (best == n || 4096 * counts[s] % v > 4096 * counts[best] % v) best = s;
    }
    raised[best] = true;
    ++f[best];
  }
  for (; sum > 4096; --sum) --*std::max_element(f.begin(), f.end());

  std::vector<uint64_t> states(32, 65536);
  std::vector<uint8_t> words;
  for (size_t j = v; j-- > 0;) {
    uint64_t& x = states[j % 32];
    const size_t s = values[j];
    uint64_t start = 0;
    for (size_t before = 0; before < s; ++before) start += f[before];
    if (x >= f[s] << 20) {
      PutBack(words, uint32_t(x & 65535));
      x >>= 16;
    }
    x = (x / f[s] << 12) + x % f[s] + start;
  }
  std::vector<uint8_t> out;
  for (uint64_t each : f) {
    for (; each >= 128; each >>= 7) out.push_back(uint8_t(each | 128));
    out.push_back(uint8_t(each));
  }
  for (const uint64_t x : states) {
    for (int shift = 0; shift < 32; shift += 8) {
      out.push_back(uint8_t(x >> shift));
    }
  }
  out.insert(out.end(), words.begin(), words.end());
  return out;
}

}  // namespace tfc::testing

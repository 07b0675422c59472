#include "payload_writer.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace tfc::testing {
namespace {

void PutUvarint(std::vector<uint8_t>& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out.push_back(uint8_t(value | 128));
  out.push_back(uint8_t(value));
}

void PutFloats(std::vector<uint8_t>& out, const std::vector<float>& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  out.insert(out.end(), bytes, bytes + 4 * values.size());
}

uint32_t BitwiseCrc32c(const uint8_t* bytes, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
  }
  return ~crc;
}

std::vector<uint8_t> PackBits(const Weight& weight) {
  std::vector<uint8_t> out((weight.symbols.size() * weight.num_bits + 7) / 8);
  for (size_t i = 0; i < weight.symbols.size() * weight.num_bits; ++i) {
    const int symbol = weight.symbols[i / weight.num_bits];
    if (symbol >> i % weight.num_bits & 1) out[i / 8] |= uint8_t(1 << i % 8);
  }
  return out;
}

struct Model {
  uint32_t p = 32768, k = 0;
};

class RangeEncoder {
 public:
  void Bit(Model& model, int bit) {
    const uint64_t bound =
        (range_ >> 12) * std::min(4095u, std::max(1u, model.p >> 4));
    const uint32_t rate = 131072 / (2 * model.k + 3);
    if (bit == 0) {
      range_ = bound;
      model.p += (65536 - model.p) * rate >> 16;
    } else {
      low_ += bound;
      range_ -= bound;
      model.p -= model.p * rate >> 16;
    }
    model.k = std::min(model.k + 1, 255u);
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

std::vector<uint8_t> CodeEntropy(const Weight& weight) {
  RangeEncoder coder;
  std::vector<Model> zero(8), tree(size_t{1} << weight.num_bits);
  const int64_t row = int64_t(weight.symbols.size() / weight.dims[0]);
  const int z = weight.ZeroSymbol();
  const auto nonzero = [&](int64_t j) {
    return j < 0 || weight.symbols[j] != z ? 1 : 0;
  };
  for (int64_t i = 0; i < int64_t(weight.symbols.size()); ++i) {
    const int s = weight.symbols[i];
    if (z >= 0) {
      coder.Bit(
          zero[nonzero(i - 1) + 2 * nonzero(i - 2) + 4 * nonzero(i - row)],
          s != z);
      if (s == z) continue;
    }
    int node = 1;
    for (int depth = weight.num_bits - 1; depth >= 0; --depth) {
      const int bit = s >> depth & 1;
      const bool sibling_is_zero = depth == 0 && z >= 0 && (s ^ 1) == z;
      if (!sibling_is_zero) coder.Bit(tree[node], bit);
      node = 2 * node + bit;
    }
  }
  return coder.Finish();
}

}  // namespace

int Weight::ZeroSymbol() const {
  if (codebook.empty()) return 1 << (num_bits - 1);
  const auto found = std::find(codebook.begin(), codebook.end(), 0.f);
  return found == codebook.end() ? -1 : int(found - codebook.begin());
}

std::vector<float> Weight::Floats() const {
  size_t inner = symbols.size();
  for (int axis = 0; axis <= channel_axis; ++axis) inner /= dims[axis];
  std::vector<float> floats;
  for (size_t i = 0; i < symbols.size(); ++i) {
    const float scale =
        channel_axis < 0 ? scales[0] : scales[i / inner % dims[channel_axis]];
    floats.push_back(scale * (codebook.empty() ? float(int(symbols[i]) -
                                                       (1 << (num_bits - 1)))
                                               : codebook[symbols[i]]));
  }
  return floats;
}

Weight RandomWeight(std::vector<uint64_t> dims, int num_bits, bool palette,
                    int channel_axis, uint32_t seed) {
  std::mt19937 random(seed);
  Weight weight;
  weight.dims = std::move(dims);
  weight.num_bits = num_bits;
  weight.channel_axis = channel_axis;
  for (int i = 0; palette && i < 1 << num_bits; ++i) {
    weight.codebook.push_back(0.25f * float(i - (1 << num_bits) / 3));
  }
  const size_t num_scales =
      channel_axis < 0 ? 1 : size_t(weight.dims[channel_axis]);
  std::uniform_real_distribution<float> scale(0.05f, 0.2f);
  for (size_t i = 0; i < num_scales; ++i)
    weight.scales.push_back(scale(random));
  size_t count = 1;
  for (const uint64_t dim : weight.dims) count *= dim;
  for (size_t i = 0; i < count; ++i) {
    weight.symbols.push_back(random() % 2
                                 ? uint8_t(weight.ZeroSymbol())
                                 : uint8_t(random() % (1u << num_bits)));
  }
  return weight;
}

std::vector<uint8_t> WritePayload(const Weight& weight, bool entropy_coded) {
  const std::vector<uint8_t> codes =
      entropy_coded ? CodeEntropy(weight) : PackBits(weight);
  std::vector<uint8_t> body;
  PutUvarint(body, weight.dims.size());
  for (const uint64_t dim : weight.dims) PutUvarint(body, dim);
  PutUvarint(body, uint64_t(weight.channel_axis + 1));
  PutUvarint(body, weight.codebook.size());
  PutUvarint(body, codes.size());
  PutFloats(body, weight.scales);
  PutFloats(body, weight.codebook);
  body.insert(body.end(), codes.begin(), codes.end());
  std::vector<uint8_t> out = {'T', 'F', 'C', 'W', 0, 0, 0, 0, 1};
  out.push_back(weight.codebook.empty() ? 1 : 2);
  out.push_back(uint8_t(weight.num_bits));
  out.push_back(entropy_coded);
  for (size_t width = 1;; ++width) {  // the length counts itself
    const size_t length = (out.size() + width + body.size() + 3) / 4 * 4;
    std::vector<uint8_t> field;
    PutUvarint(field, length);
    if (field.size() != width) continue;
    out.insert(out.end(), field.begin(), field.end());
    out.insert(out.end(), body.begin(), body.end());
    out.resize(length);
    Reseal(out);
    return out;
  }
}

void Reseal(std::vector<uint8_t>& payload) {
  const uint32_t crc = BitwiseCrc32c(payload.data() + 8, payload.size() - 8);
  std::memcpy(payload.data() + 4, &crc, 4);
}

}  // namespace tfc::testing

// Payloads of every type and encoding for the delegate's tests: plain codes,
// no zeros apart. Written from tfcompress/codec/FORMAT.md.
#ifndef TFCOMPRESS_TESTS_NATIVE_DELEGATE_PAYLOAD_H_
#define TFCOMPRESS_TESTS_NATIVE_DELEGATE_PAYLOAD_H_

#include <cstdint>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "fuzz/targets.h"

namespace tfc::testing {

struct PlainPayload {
  uint8_t encoding = 1, num_bits = 4, type = 0;
  std::vector<uint64_t> dims;  // each below 128
  uint8_t granularity = 0, block = 0;
  std::vector<float> scales = {};
  std::vector<float> bias = {};
  std::vector<uint8_t> symbols;
  std::vector<float> codebook = {};

  std::vector<uint8_t> Bytes() const {
    std::vector<uint8_t> codes((symbols.size() * num_bits + 7) / 8);
    for (size_t i = 0; i < symbols.size() * num_bits; ++i) {
      const int bit = symbols[i / num_bits] >> i % num_bits & 1;
      codes[i / 8] |= uint8_t(bit << i % 8);
    }
    std::vector<uint8_t> out = {'T', 'F', 'C', 'W', 0, 0, 0, 0, 1};
    Put(out, {encoding, num_bits, uint8_t(type << 5), 0, uint8_t(dims.size())});
    for (const uint64_t dim : dims) out.push_back(uint8_t(dim));
    Put(out, {granularity, block, uint8_t(codebook.size())});
    Put(out, {uint8_t(bias.size()), 0});  // and no side section
    for (size_t size = codes.size();; size >>= 7) {
      out.push_back(uint8_t(size < 128 ? size : size | 128));
      if (size < 128) break;
    }
    PutFloats(out, scales);
    PutFloats(out, codebook);
    PutFloats(out, bias);
    Put(out, codes);
    return Repair(out.data(), out.size());
  }

  // By the formula of the format, for uniform codes and palettes.
  std::vector<float> Floats() const {
    size_t inner = symbols.size();
    for (int axis = 0; axis <= granularity - 2; ++axis) inner /= dims[axis];
    std::vector<float> floats;
    for (size_t i = 0; i < symbols.size(); ++i) {
      const float level = codebook.empty()
                              ? float(symbols[i]) - float(1 << (num_bits - 1))
                              : codebook[symbols[i]];
      floats.push_back(scales[i / inner % scales.size()] * level);
    }
    return floats;
  }

 private:
  static void Put(std::vector<uint8_t>& out, const std::vector<uint8_t>& more) {
    out.insert(out.end(), more.begin(), more.end());
  }
  static void PutFloats(std::vector<uint8_t>& out,
                        const std::vector<float>& values) {
    const size_t at = out.size();
    out.resize(at + 4 * values.size());
    if (!values.empty()) {
      std::memcpy(&out[at], values.data(), 4 * values.size());
    }
  }
};

// Random symbols, half of them zero, and random scales along `axis` (-1: one).
inline PlainPayload RandomPayload(std::vector<uint64_t> dims, int num_bits,
                                  bool palette, int axis, uint32_t seed) {
  std::mt19937 random(seed);
  PlainPayload payload{};
  payload.encoding = palette ? 2 : 1;
  payload.num_bits = uint8_t(num_bits);
  payload.granularity = uint8_t(axis + 2);
  if (axis < 0) payload.granularity = 1;
  const int zero = palette ? (1 << num_bits) / 3 : 1 << (num_bits - 1);
  for (int i = 0; palette && i < 1 << num_bits; ++i) {
    payload.codebook.push_back(0.25f * float(i - zero));
  }
  std::uniform_real_distribution<float> scale(0.05f, 0.2f);
  payload.scales.resize(axis < 0 ? 1 : size_t(dims[axis]));
  for (float& s : payload.scales) s = scale(random);
  size_t count = 1;
  for (const uint64_t dim : dims) count *= dim;
  for (size_t i = 0; i < count; ++i) {
    payload.symbols.push_back(
        uint8_t(random() % 2 ? uint32_t(zero) : random() % (1u << num_bits)));
  }
  payload.dims = std::move(dims);
  return payload;
}

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_DELEGATE_PAYLOAD_H_

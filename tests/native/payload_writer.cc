#include "payload_writer.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "section_writer.h"

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

float LevelOf(const Weight& weight, int s) {
  const int d = s - (1 << (weight.num_bits - 1));
  switch (weight.encoding) {
    case 1:
      return float(d);
    case 2:
      return weight.codebook[size_t(s)];
    case 3:
      return float(s - 1);
    case 4:
      return float(2 * s - 1);
    default:
      return d == 0 ? 0.f : (d < 0 ? -1.f : 1.f) * float(1u << (abs(d) - 1));
  }
}

// Values and side section.
struct Split {
  std::vector<uint8_t> values, side;
  uint64_t entries = 0;
};

int BitsOf(uint64_t group) {
  return group == 4 ? 2 : group == 8 ? 3 : group == 16 ? 4 : 5;
}

Split SplitZeros(const Weight& weight, const Form& form) {
  Split split;
  std::vector<uint32_t> fields;
  const std::vector<uint8_t>& s = weight.symbols;
  const int zero = weight.ZeroSymbol();
  const uint64_t longest = (uint64_t{1} << form.a % 64) - 1;
  const uint64_t unit = form.zeros == 3 ? form.a : form.zeros == 4 ? form.b : 1;
  uint64_t run = 0;
  for (size_t i = 0; i < s.size(); i += unit) {
    const bool any =
        std::any_of(s.begin() + long(i), s.begin() + long(i + unit),
                    [&](uint8_t symbol) { return symbol != zero; });
    if (form.zeros == 2) {
      run = any ? run : run + 1;
      if (!any) continue;
      for (; run >= longest; run -= longest)
        fields.push_back(uint32_t(longest));
      fields.push_back(uint32_t(run));
      run = 0;
    } else if (form.zeros < 4) {
      fields.push_back(any);
    } else {
      std::vector<uint32_t> kept;
      for (const bool zeros : {false, true}) {
        for (uint32_t k = 0; k < unit; ++k) {
          if ((s[i + k] == zero) == zeros && kept.size() < form.a) {
            kept.push_back(k);
          }
        }
      }
      std::sort(kept.begin(), kept.end());
      fields.insert(fields.end(), kept.begin(), kept.end());
      for (const uint32_t k : kept) split.values.push_back(s[i + k]);
      continue;
    }
    if (any) {
      split.values.insert(split.values.end(), s.begin() + long(i),
                          s.begin() + long(i + unit));
    }
  }
  split.entries = fields.size();
  split.side = PackFields(fields, form.zeros == 2   ? int(form.a)
                                  : form.zeros == 4 ? BitsOf(form.b)
                                                    : 1);
  return split;
}

}  // namespace

int Weight::Alphabet() const {
  if (encoding == 2) return int(codebook.size());
  return encoding == 3 ? 3 : 1 << SymbolBits();
}

int Weight::ZeroSymbol() const {
  if (encoding == 6) return 0;
  for (int s = 0; s < Alphabet(); ++s) {
    if (LevelOf(*this, s) == 0) return s;
  }
  return -1;
}

std::vector<float> Weight::Floats() const {
  size_t inner = symbols.size(), next_raw = 0;
  for (uint64_t axis = 2; axis <= granularity; ++axis) inner /= dims[axis - 2];
  if (block) inner = block;
  std::vector<float> floats;
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (encoding != 6) {
      const float scale =
          scales.empty() ? 1.f : scales[i / inner % scales.size()];
      floats.push_back(scale * LevelOf(*this, symbols[i]));
      continue;
    }
    uint32_t bits = 0;
    if (symbols[i] != 0) {
      const int m = num_bits - 9;
      const uint32_t field = raw[next_raw++];
      bits = (field >> m) << 31 | uint32_t(symbols[i]) << 23 |
             (field % (1u << m)) << (23 - m);
    }
    floats.emplace_back();
    std::memcpy(&floats.back(), &bits, 4);
  }
  return floats;
}

Weight RandomWeight(std::vector<uint64_t> dims, int encoding, int num_bits,
                    uint64_t granularity, uint32_t seed, bool blocks) {
  std::mt19937 random(seed);
  Weight weight;
  weight.dims = std::move(dims);
  weight.encoding = uint8_t(encoding);
  weight.num_bits = uint8_t(num_bits);
  weight.granularity = granularity;
  for (int i = 0; encoding == 2 && i < 1 << num_bits; ++i) {
    weight.codebook.push_back(0.25f * float(i - (1 << num_bits) / 3));
  }
  size_t count = 1;
  for (const uint64_t dim : weight.dims) count *= dim;
  size_t num_scales = granularity;
  if (granularity >= 2) num_scales = weight.dims[granularity - 2];
  if (blocks) {
    weight.block = count / weight.dims[0] / 2;
    num_scales = count / weight.block;
  }
  std::uniform_real_distribution<float> scale(0.05f, 0.2f);
  for (size_t i = 0; i < num_scales; ++i) {
    weight.scales.push_back(scale(random));
  }
  const int zero = weight.ZeroSymbol();
  for (size_t i = 0; i < count; ++i) {
    int symbol = int(random() % uint32_t(weight.Alphabet()));
    if (encoding == 6) symbol = int(random() % 40) + 100;
    const uint32_t pair = i / 2 % 2;
    if (zero >= 0 && (random() % 4 == 0 || pair == i / 4 % 2)) symbol = zero;
    weight.symbols.push_back(uint8_t(symbol));
    if (encoding == 6 && symbol != 0) {
      weight.raw.push_back(random() % (1u << (num_bits - 8)));
    }
  }
  return weight;
}

std::vector<Form> FormsOf(const Weight& weight) {
  std::vector<Form> forms = {
      {0, 0, 0, 0}, {1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0}};
  if (weight.ZeroSymbol() < 0) return forms;
  const uint64_t row = weight.symbols.size() / weight.dims[0];
  for (const int coder : {0, 1, 2, 3}) {
    for (const uint64_t size : {2, 3, 8}) {
      if (row % size == 0) forms.push_back({coder, 3, size, 0});
    }
    for (const uint64_t size : {4, 8, 16, 32}) {
      if (row % size != 0) continue;
      forms.push_back({coder, 4, size / 2, size});
      forms.push_back({coder, 4, size - 1, size});
    }
    if (coder % 2 == 1) continue;
    forms.push_back({coder, 1, 0, 0});
    for (const uint64_t bits : {1, 2, 8}) forms.push_back({coder, 2, bits, 0});
  }
  return forms;
}

std::vector<uint8_t> WritePayload(const Weight& weight, const Form& form) {
  const uint64_t row = weight.symbols.size() / weight.dims[0];
  if (form.coder == 1 || form.coder == 3) {
    return WriteSections(
        weight, form, {},
        CodeBits(form.coder, weight.symbols, weight.SymbolBits(),
                 weight.ZeroSymbol(), row, form.zeros, form.a, form.b));
  }
  Split split;
  split.values = weight.symbols;
  if (form.zeros != 0) split = SplitZeros(weight, form);
  Form whole = form;
  if (form.zeros == 2) whole.b = split.entries;
  const std::vector<uint32_t> fields(split.values.begin(), split.values.end());
  return WriteSections(weight, whole, split.side,
                       form.coder == 2
                           ? CodeRans(split.values, weight.Alphabet())
                           : PackFields(fields, weight.SymbolBits()));
}

std::vector<uint8_t> WriteSections(const Weight& weight, const Form& form,
                                   const std::vector<uint8_t>& side,
                                   const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> body;
  PutUvarint(body, weight.dims.size());
  for (const uint64_t dim : weight.dims) PutUvarint(body, dim);
  PutUvarint(body, weight.granularity);
  PutUvarint(body, weight.block);
  PutUvarint(body, weight.codebook.size());
  PutUvarint(body, weight.bias.size());
  if (form.zeros >= 2) {
    PutUvarint(body, form.a);
    PutUvarint(body, form.b);
  }
  PutUvarint(body, side.size());
  PutUvarint(body, codes.size());
  PutFloats(body, weight.scales);
  PutFloats(body, weight.codebook);
  PutFloats(body, weight.bias);
  body.insert(body.end(), side.begin(), side.end());
  body.insert(body.end(), codes.begin(), codes.end());
  if (weight.encoding == 6) {
    const auto raw = PackFields(weight.raw, weight.num_bits - 8);
    body.insert(body.end(), raw.begin(), raw.end());
  }
  std::vector<uint8_t> out = {'T', 'F', 'C', 'W', 0, 0, 0, 0, 1};
  out.push_back(weight.encoding);
  out.push_back(weight.num_bits);
  out.push_back(uint8_t(form.coder | form.zeros << 2 | weight.type << 5));
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

#include "format/c_api.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "format/adaptive.h"
#include "format/error.h"
#include "format/payload.h"
#include "format/rans.h"
#include "format/weights.h"

namespace {

// Runs the body of a C function; its result, or `failed` after an exception.
template <typename Result, typename Body>
Result Guarded(Result failed, char* error, size_t error_size, Body body) {
  std::string message;
  try {
    return body();
  } catch (const std::bad_alloc&) {
    message = "coding must find enough memory.";
  } catch (const std::exception& failure) {
    message = failure.what();
  }
  if (error != nullptr && error_size > 0) {
    std::snprintf(error, error_size, "%s", message.c_str());
  }
  return failed;
}

constexpr int kRans = int(tfc::Coder::kRans);

tfc::Memory MemoryOf(int coder) {
  return coder == int(tfc::Coder::kSteady) ? tfc::Memory::kSteady
                                           : tfc::Memory::kAdaptive;
}

tfc::SymbolLayout LayoutOf(int coder, uint64_t count, int num_bits,
                           int alphabet, int zero, uint64_t row, int zeros,
                           uint64_t a, uint64_t b) {
  if (coder < int(tfc::Coder::kAdaptive) || coder > int(tfc::Coder::kSteady)) {
    throw tfc::Error("coder must be 1 (adaptive), 2 (rANS) or 3 (steady)",
                     "coder=" + std::to_string(coder));
  }
  const tfc::SymbolLayout layout{
      count, num_bits, alphabet, zero, row, static_cast<tfc::Zeros>(zeros),
      a,     b};
  layout.Check();
  return layout;
}

}  // namespace

const char* tfc_version() { return TFC_VERSION; }

int tfc_decode(const uint8_t* payload, size_t size, float* out, size_t count,
               char* error, size_t error_size) {
  return Guarded(1, error, error_size, [&] {
    const tfc::Payload parsed = tfc::ParsePayload(payload, size);
    if (parsed.num_codes != count) {
      throw tfc::Error("count must be the number of codes in the payload",
                       "count=" + std::to_string(count) +
                           ", codes=" + std::to_string(parsed.num_codes));
    }
    tfc::DecodeWeights(parsed, out);
    return 0;
  });
}

int64_t tfc_encode_symbols(int coder, const uint8_t* symbols, uint64_t count,
                           int num_bits, int alphabet, int zero, uint64_t row,
                           int zeros, uint64_t a, uint64_t b, uint8_t* out,
                           uint64_t capacity, char* error, size_t error_size) {
  return Guarded(int64_t{-1}, error, error_size, [&] {
    const tfc::SymbolLayout layout =
        LayoutOf(coder, count, num_bits, alphabet, zero, row, zeros, a, b);
    const std::vector<uint8_t> section =
        coder == kRans ? tfc::EncodeRans(symbols, count, alphabet)
                       : tfc::EncodeAdaptive(layout, MemoryOf(coder), symbols);
    if (section.size() > capacity) {
      throw tfc::Error("the section must fit into its buffer",
                       "bytes=" + std::to_string(section.size()) +
                           ", capacity=" + std::to_string(capacity));
    }
    if (!section.empty()) std::memcpy(out, section.data(), section.size());
    return static_cast<int64_t>(section.size());
  });
}

int tfc_decode_symbols(int coder, const uint8_t* section, uint64_t size,
                       uint8_t* symbols, uint64_t count, int num_bits,
                       int alphabet, int zero, uint64_t row, int zeros,
                       uint64_t a, uint64_t b, char* error, size_t error_size) {
  return Guarded(1, error, error_size, [&] {
    const tfc::SymbolLayout layout =
        LayoutOf(coder, count, num_bits, alphabet, zero, row, zeros, a, b);
    if (coder == kRans) {
      tfc::DecodeRans(section, size, alphabet, symbols, count);
    } else {
      tfc::DecodeAdaptive(layout, MemoryOf(coder), section, size, symbols);
    }
    return 0;
  });
}

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "delegate/stored_weight.h"
#include "format/error.h"
#include "format/payload.h"
#include "format/weights.h"
#include "fuzz/targets.h"

namespace tfc::testing {
namespace {

constexpr uint64_t kMostCodes = 1 << 16;  // more are honest, and slow

// By the reader of the C functions.
void DecodePayload(const uint8_t* bytes, size_t size) {
  const Payload payload = ParsePayload(bytes, size);
  if (payload.num_codes > kMostCodes) return;
  const std::unique_ptr<float[]> weights(new float[payload.num_codes]);
  DecodeWeights(payload, weights.get());
}

// By the reader of the delegate.
void DecodeStored(const uint8_t* bytes, size_t size) {
  const StoredWeight weight(bytes, size);
  if (weight.count() > kMostCodes) return;
  const size_t tensor_bytes = weight.TensorBytes();
  const std::unique_ptr<uint8_t[]> tensor(new uint8_t[tensor_bytes]);
  weight.Decode(tensor.get());
  if (weight.TensorType() == abi::kFloat32) {
    for (size_t i = 0; i < weight.count(); ++i) {
      float value;
      std::memcpy(&value, tensor.get() + 4 * i, sizeof(value));
      if (!std::isfinite(value)) __builtin_trap();
    }
  }
  if (weight.encoding() == Encoding::kFloat) return;
  const std::vector<uint8_t> symbols = weight.Symbols();
  if (symbols.size() != weight.count()) __builtin_trap();
  for (const uint8_t symbol : symbols) {
    if (symbol >= weight.levels().size()) __builtin_trap();
  }
}

}  // namespace

void FuzzDecoder(const uint8_t* bytes, size_t size) {
  const std::vector<uint8_t> repaired = Repair(bytes, size);
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[repaired.size()]);
  std::copy(repaired.begin(), repaired.end(), exact.get());
  for (const auto decode : {DecodePayload, DecodeStored}) {
    try {
      decode(exact.get(), repaired.size());
    } catch (const Error&) {
    }
  }
}

}  // namespace tfc::testing

#ifdef TFC_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  tfc::testing::FuzzDecoder(bytes, size);
  return 0;
}
#endif

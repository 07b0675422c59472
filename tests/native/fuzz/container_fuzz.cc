#include <algorithm>
#include <memory>

#include "delegate/stored_weight.h"
#include "format/error.h"
#include "format/payload.h"
#include "fuzz/targets.h"

namespace tfc::testing {
namespace {

// By both readers, from a heap copy of exactly these bytes.
void Parse(const uint8_t* bytes, size_t size) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[size]);
  std::copy(bytes, bytes + size, exact.get());
  const bool likely = LooksLikePayload(exact.get(), size);
  try {
    const Payload payload = ParsePayload(exact.get(), size);
    uint64_t count = 1;
    for (const uint64_t dim : payload.dims) count *= dim;
    if (!likely || count != payload.num_codes) __builtin_trap();
  } catch (const Error&) {
  }
  try {
    const StoredWeight weight(exact.get(), size);
    uint64_t count = 1;
    for (const uint64_t dim : weight.dims()) count *= dim;
    if (!likely || count != weight.count()) __builtin_trap();
  } catch (const Error&) {
  }
}

}  // namespace

void FuzzContainer(const uint8_t* bytes, size_t size) {
  Parse(bytes, size);
  const std::vector<uint8_t> repaired = Repair(bytes, size);
  Parse(repaired.data(), repaired.size());
}

}  // namespace tfc::testing

#ifdef TFC_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  tfc::testing::FuzzContainer(bytes, size);
  return 0;
}
#endif

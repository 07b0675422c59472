// Damaged payloads, made by the thousand: each must end in an Error, or in
// symbols that fit the header. The sanitizers watch.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "format/codes.h"
#include "format/error.h"
#include "format/payload.h"
#include "payload_writer.h"

namespace tfc {
namespace {

using testing::RandomWeight;
using testing::Reseal;
using testing::WritePayload;

std::vector<std::vector<uint8_t>> Samples() {
  std::vector<std::vector<uint8_t>> samples;
  for (const bool coded : {false, true}) {
    samples.push_back(
        WritePayload(RandomWeight({5, 3, 2}, 4, false, 0, 1), coded));
    samples.push_back(WritePayload(RandomWeight({7, 9}, 3, true, 1, 2), coded));
    samples.push_back(
        WritePayload(RandomWeight({40, 5}, 8, false, -1, 3), coded));
  }
  return samples;
}

// Whether a heap copy of exactly these bytes is accepted.
bool Accepted(const std::vector<uint8_t>& bytes) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  try {
    const Payload payload = ParsePayload(exact.get(), bytes.size());
    // An entropy-coded payload may honestly claim 2^39 zeros.
    if (payload.num_codes > 1 << 16) return true;
    const auto symbols = DecodeSymbols(payload);
    EXPECT_EQ(symbols.size(), payload.num_codes);
    for (const uint8_t symbol : symbols) {
      EXPECT_LT(symbol, payload.codebook.empty() ? 1u << payload.num_bits
                                                 : payload.codebook.size());
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(PayloadFuzzTest, EveryFlippedBitIsFound) {
  for (std::vector<uint8_t> bytes : Samples()) {
    ASSERT_TRUE(Accepted(bytes));
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
      EXPECT_FALSE(Accepted(bytes)) << "bit " << bit;
      bytes[bit / 8] ^= uint8_t(1 << bit % 8);
    }
  }
}

TEST(PayloadFuzzTest, EveryTruncationIsFound) {
  for (const std::vector<uint8_t>& bytes : Samples()) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + size);
      EXPECT_FALSE(Accepted(cut)) << "size " << size;
      if (size < 16) continue;
      Reseal(cut);
      EXPECT_FALSE(Accepted(cut)) << "resealed, size " << size;
      if (size % 4 == 0 && size < 128) {
        cut[12] = uint8_t(size);
        Reseal(cut);
        Accepted(cut);
      }
    }
  }
}

TEST(PayloadFuzzTest, ResealedDamageNeverLeavesTheBuffer) {
  std::mt19937 random(7);
  int accepted = 0, refused = 0;
  const auto samples = Samples();
  for (int round = 0; round < 4000; ++round) {
    for (std::vector<uint8_t> bytes : samples) {
      const int changes = 1 + int(random() % 4);
      for (int i = 0; i < changes; ++i) {
        // Most changes hit the header, where they hurt most.
        const size_t reach = random() % 4 ? 40 : bytes.size();
        bytes[8 + random() % (std::min(reach, bytes.size()) - 8)] =
            random() % 3 ? uint8_t(random()) : uint8_t(random() % 4 * 85);
      }
      if (random() % 8 == 0) bytes.resize(bytes.size() / 8 * 4);
      if (random() % 2 && bytes.size() < 128) bytes[12] = uint8_t(bytes.size());
      Reseal(bytes);
      Accepted(bytes) ? ++accepted : ++refused;
    }
  }
  EXPECT_GT(accepted, 100);  // the damage does get past the checksum
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace tfc

// Damaged payloads, made by the thousand: each must end in an Error, or in
// weights that fit the header. The sanitizers watch.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>

#include "format/codes.h"
#include "format/error.h"
#include "format/payload.h"
#include "format/weights.h"
#include "payload_writer.h"

namespace tfc {
namespace {

using testing::Form;
using testing::RandomWeight;
using testing::Reseal;
using testing::Weight;
using testing::WritePayload;

// Every form of a few small weights.
std::vector<std::vector<uint8_t>> Samples() {
  std::vector<std::vector<uint8_t>> samples;
  Weight integers = RandomWeight({3, 8}, 1, 4, 0, 5);
  integers.type = 2;
  Weight biased = RandomWeight({3, 16}, 3, 2, 2, 6, true);
  biased.bias = {1, 2, 3};
  for (const Weight& weight :
       {RandomWeight({5, 2, 12}, 1, 4, 2, 1), RandomWeight({7, 9}, 2, 3, 3, 2),
        RandomWeight({4, 16}, 6, 14, 0, 3), RandomWeight({4, 5}, 4, 1, 1, 4),
        integers, biased}) {
    for (const Form& form : testing::FormsOf(weight)) {
      samples.push_back(WritePayload(weight, form));
    }
  }
  return samples;
}

// Whether a heap copy of exactly these bytes is accepted.
bool Accepted(const std::vector<uint8_t>& bytes) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  try {
    const Payload payload = ParsePayload(exact.get(), bytes.size());
    // A payload may honestly claim 2^39 zeros.
    if (payload.num_codes > 1 << 16) return true;
    for (const uint8_t symbol : DecodeSymbols(payload)) {
      EXPECT_LT(symbol, payload.Alphabet());
    }
    const std::unique_ptr<float[]> weights(new float[payload.num_codes]);
    DecodeWeights(payload, weights.get());
    for (uint64_t i = 0; i < payload.num_codes; ++i) {
      EXPECT_TRUE(std::isfinite(weights[i]));
    }
    const std::unique_ptr<uint8_t[]> tensor(new uint8_t[TensorBytes(payload)]);
    DecodeTensor(payload, tensor.get());
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
      std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + long(size));
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
  for (int round = 0; round < 400; ++round) {
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

TEST(PayloadFuzzTest, DamageBehindTheHeader) {
  std::mt19937 random(8);
  int accepted = 0, refused = 0;
  for (const std::vector<uint8_t>& sample : Samples()) {
    for (int round = 0; round < 400; ++round) {
      std::vector<uint8_t> bytes = sample;
      for (uint32_t changes = 1 + random() % 3; changes > 0; --changes) {
        bytes[20 + random() % (bytes.size() - 20)] ^=
            uint8_t(1u << random() % 8);
      }
      Reseal(bytes);
      Accepted(bytes) ? ++accepted : ++refused;
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace tfc

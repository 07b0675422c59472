// The fuzz targets without libFuzzer: the corpus, and damage made from it by
// the thousand, the same in each run.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz/targets.h"

namespace tfc::testing {
namespace {

using Bytes = std::vector<uint8_t>;

std::vector<Bytes> Corpus(const char* name) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(TFC_FUZZ_CORPUS) / name)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file),
                        std::istreambuf_iterator<char>());
  }
  return corpus;
}

// Some bytes changed, cut, repeated or taken from another sample.
Bytes Mutate(const std::vector<Bytes>& corpus, std::mt19937& random) {
  Bytes bytes = corpus[random() % corpus.size()];
  for (uint32_t changes = 1 + random() % 4; changes > 0; --changes) {
    if (bytes.empty()) bytes.push_back(0);
    const size_t reach = random() % 2 ? 48 : bytes.size();
    const size_t at = random() % std::min(reach, bytes.size());
    const Bytes& other = corpus[random() % corpus.size()];
    switch (random() % 8) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        bytes.insert(bytes.begin() + long(at), uint8_t(random()));
        break;
      case 2:
        bytes.erase(bytes.begin() + long(at));
        break;
      case 3:
        for (size_t i = at; i < std::min({at + 8, bytes.size(), other.size()});
             ++i) {
          bytes[i] = other[i];
        }
        break;
      case 4:
        bytes[at] = uint8_t(random() % 4 * 85);
        break;
      case 5:
        bytes[at] ^= uint8_t(1 << random() % 8);
        break;
      default:
        bytes[at] = uint8_t(random());
    }
  }
  return bytes;
}

template <typename Target>
void Drive(const char* name, int mutants, Target target) {
  const std::vector<Bytes> corpus = Corpus(name);
  ASSERT_GT(corpus.size(), 10u) << TFC_FUZZ_CORPUS;
  for (const Bytes& bytes : corpus) target(bytes.data(), bytes.size());
  std::mt19937 random(11);
  for (int i = 0; i < mutants; ++i) {
    const Bytes bytes = Mutate(corpus, random);
    target(bytes.data(), bytes.size());
  }
}

TEST(FuzzTest, Container) { Drive("payload", 30000, FuzzContainer); }

TEST(FuzzTest, Decoder) { Drive("payload", 30000, FuzzDecoder); }

TEST(FuzzTest, Prepare) {
  int ran = 0;
  Drive("prepare", 15000, [&](const uint8_t* bytes, size_t size) {
    ran += FuzzPrepare(bytes, size);
  });
  EXPECT_GT(ran, 1500);  // damage and all
}

TEST(FuzzTest, TheCorpusRuns) {
  int ran = 0;
  for (const Bytes& bytes : Corpus("prepare")) {
    ran += FuzzPrepare(bytes.data(), bytes.size());
  }
  EXPECT_GE(ran, 50);  // integers and floats are for TfcDecode alone
}

TEST(FuzzTest, RepairMakesWhatIsWhole) {
  for (const Bytes& bytes : Corpus("payload")) {
    EXPECT_EQ(Repair(bytes.data(), bytes.size()), bytes);
    Bytes damaged = bytes;
    damaged[0] ^= 1;
    damaged[5] ^= 1;
    EXPECT_EQ(Repair(damaged.data(), damaged.size()), bytes);
  }
  for (size_t size = 0; size < 32; ++size) {
    const Bytes zeros(size);
    const Bytes repaired = Repair(zeros.data(), size);
    EXPECT_EQ(repaired.size(), size < 14 ? size : (size + 3) / 4 * 4);
  }
}

}  // namespace
}  // namespace tfc::testing

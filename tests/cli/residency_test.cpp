// SPDX-License-Identifier: Apache-2.0
// How much memory an export may take: a table is never held as f32, nor twice. The child's own figure
// (VmHWM) counts whatever was mapped, so pages that are not let go count too.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/random.h"
#include "models/packed_model.h"
#include "models/sites.h"
#include "models/tokenizer.h"
#include "tests/cli/binaries.h"
#include "tests/support/random_quantized.h"

namespace edgeq {
namespace {

constexpr int64_t kHidden = 512, kSmall = 2048, kLarge = kSmall + (int64_t(1) << 16);
constexpr int64_t kMoreWeights = (kLarge - kSmall) * kHidden;
constexpr int64_t kMoreF16 = 2 * kMoreWeights, kMoreF32 = 4 * kMoreWeights;
// 4 bits each, and a scale in f32 for 32 of them.
constexpr int64_t kMoreCodes = kMoreWeights / 2 + 4 * kMoreWeights / 32;
// What malloc keeps of what was given back: blocks below its largest threshold.
constexpr int64_t kKeptByMalloc = int64_t(32) << 20;

// A model of one block whose table has `vocab` rows, all in 4 bits.
void write_packed(const std::string& path, int64_t vocab) {
  ModelConfig config{
      .family = "llama", .name = "wide", .hidden = kHidden, .vocab = vocab, .context = 64, .tied_head = true};
  config.layers.assign(1, {.heads = 8, .kv_heads = 8, .head_dim = 64, .ffn = 512});
  Random random(3);
  PackedWriter writer(path);
  for (const SiteShape& site : all_sites(config))
    writer.add(site.name, random_quantized(parse_scheme("int4-g32-sym"), site.rows, site.cols, random));
  for (const VectorShape& vector : all_vectors(config))
    writer.add_vector(vector.name, std::vector<float>(size_t(vector.size), 1.0f));
  writer.finish(config, Tokenizer::from_folder(kTiny).serialize(), "{}");
}

class Residency : public testing::Test {
 protected:
  // Peak bytes of converting the small or the large model; what is written is what the next run may read.
  int64_t peak(const std::string& from, const std::string& target, const std::string& to) const {
    const Outcome o =
        edgeq("convert " + dir_.file(from) + " --to " + target + " -o " + dir_.file(to) + " --no-run --json");
    EXPECT_EQ(o.code, 0) << o.err;
    return o.code == 0 ? nlohmann::json::parse(o.out).at("peak_rss_bytes").get<int64_t>() : 0;
  }
  // What the larger table adds to the peak.
  int64_t growth(const std::string& from, const std::string& target, const std::string& to) const {
    return peak("large." + from, target, "large." + to) - peak("small." + from, target, "small." + to);
  }
  const TempDir dir_;
};

TEST_F(Residency, AnExportHoldsALargeTableOnceInTheTypeOfItsFile) {
  static_assert(kMoreF16 + kMoreCodes + kKeptByMalloc < kMoreF32,
                "whoever decodes the table whole to f32 is above each bound");
  write_packed(dir_.file("small.packed"), kSmall);
  write_packed(dir_.file("large.packed"), kLarge);
  // A table of codes becomes F16 in a folder: both are there at once.
  EXPECT_LT(growth("packed", "gptq", "gptq"), kMoreF16 + kMoreCodes + kKeptByMalloc);
  EXPECT_LT(growth("gptq", "gguf", "gguf"), kMoreF16 + kKeptByMalloc);
  // Codes and the blocks or panels that they are packed into.
  EXPECT_LT(growth("packed", "gguf", "codes.gguf"), 2 * kMoreCodes + kKeptByMalloc);
  EXPECT_LT(growth("codes.gguf", "packed", "again"), 2 * kMoreCodes + kKeptByMalloc);
}

}  // namespace
}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "pruning/size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr UnitKind kAll[] = {UnitKind::blocks, UnitKind::heads, UnitKind::ffn};

// As SmolLM2-135M: 9 query heads on 3 KV heads, tied.
ModelConfig smol() {
  ModelConfig config = tiny_config();
  config.hidden = 576;
  config.vocab = 49152;
  config.layers.assign(30, {.heads = 9, .kv_heads = 3, .head_dim = 64, .ffn = 1536, .window = 0});
  return config;
}

ModelConfig cut(const ModelConfig& config, const CutShares& shares) {
  std::vector<int> blocks;
  for (int b = 0; b < blocks_after(std::ssize(config.layers), shares.blocks); ++b) blocks.push_back(b);
  return config_after(config, blocks, shares);
}

int64_t weights(const CutShares& shares) { return cut(smol(), shares).weight_count(); }

TEST(SizeLimit, IsAUnitAndANumber) {
  EXPECT_EQ(parse_size_limit("parameters=100M").most, 100'000'000);
  EXPECT_EQ(parse_size_limit("parameters=1.5B").most, 1'500'000'000);
  EXPECT_EQ(parse_size_limit("macs=640k").unit, SizeUnit::macs);
  EXPECT_EQ(parse_size_limit("bytes=200 MB").most, 200'000'000);
  for (const char* text :
       {"100M", "", "=1", "weights=1M", "parameters=", "parameters=MB", "parameters=-1", "parameters=0",
        "parameters=nan", "parameters=1e3", "parameters=1T", "bytes=1M", "parameters=99999999999999999999"})
    EXPECT_THAT(error_of([&] { parse_size_limit(text); }), HasSubstr("expected")) << text;
  EXPECT_THAT(parse_unit_kinds("ffn,heads"), ElementsAre(UnitKind::ffn, UnitKind::heads));
  for (const char* text : {"", "heads,", "head", "ffn,ffn"})
    EXPECT_THAT(error_of([&] { parse_unit_kinds(text); }), HasSubstr("expected")) << text;
}

TEST(SizeLimit, CountsWhatIsMultipliedOncePerToken) {
  ModelConfig config = smol();
  EXPECT_EQ(size_of(config, SizeUnit::bytes, 2), 2 * config.weight_count());
  EXPECT_EQ(size_of(config, SizeUnit::macs, 2), config.weight_count()) << "the tied table is the head";
  const int64_t tied = config.weight_count();
  config.tied_head = false;
  EXPECT_EQ(size_of(config, SizeUnit::macs, 2), tied) << "a table that is only looked up multiplies nothing";
}

TEST(SizeLimit, EveryStepOfAKindIsAShapeOfItsOwn) {
  for (const bool heads : {true, false}) {
    int64_t before = 0;
    for (const double share : shares_to_cut(smol().layers[0], {}, heads)) {
      CutShares shares;
      (heads ? shares.heads : shares.ffn) = share;
      const LayerShape layer = shape_after(smol().layers[0], shares);
      const int64_t left = heads ? layer.heads : layer.ffn;
      EXPECT_TRUE(before == 0 || left < before) << left;
      before = left;
    }
    EXPECT_EQ(before, heads ? 1 : 64);
  }
}

// For many limits and kinds: it fits, no share could be smaller, and a larger limit never cuts more weights.
TEST(SizeLimit, CutsNoMoreThanItMust) {
  for (const std::vector<UnitKind>& kinds : {std::vector<UnitKind>{UnitKind::ffn},
                                             {UnitKind::heads, UnitKind::ffn},
                                             {std::begin(kAll), std::end(kAll)}}) {
    for (int64_t most = 70'000'000; most < 134'000'000; most += 3'100'000) {
      const CutShares found = shares_within({.most = most}, kinds, {}, smol(), 2);
      EXPECT_LE(weights(found), most);
      for (const UnitKind kind : kinds) {
        const std::vector<double> steps = kind == UnitKind::blocks
                                              ? std::vector<double>{found.blocks - 1.0 / 30, found.blocks}
                                              : shares_to_cut(smol().layers[0], {}, kind == UnitKind::heads);
        double less = -1;
        for (const double step : steps)
          if (step < found.*share_of(kind) - 1e-9) less = step;
        if (less < 0) continue;
        CutShares more = found;
        more.*share_of(kind) = less;
        EXPECT_GT(weights(more), most) << unit_kinds_text({&kind, 1}) << " could lose less of " << most;
      }
    }
  }
}

TEST(SizeLimit, SharesAreAsEqualAsUnitsAllow) {
  const CutShares found = shares_within({.most = 100'000'000}, kAll, {}, smol(), 2);
  EXPECT_NEAR(found.blocks, found.ffn, 0.08);
  const CutShares fixed =
      shares_within({.most = 100'000'000}, std::vector{UnitKind::ffn}, {.heads = 1.0 / 3}, smol(), 2);
  EXPECT_EQ(fixed.heads, 1.0 / 3);
  EXPECT_LE(weights(fixed), 100'000'000);
}

TEST(SizeLimit, WhatCannotBeMetNamesTheLeast) {
  const std::vector<UnitKind> heads = {UnitKind::heads};
  CutShares all;
  all.heads = 8.0 / 9;
  EXPECT_THAT(error_of([&] { shares_within({.most = 90'000'000}, heads, {}, smol(), 2); }),
              AllOf(HasSubstr("90000000 parameters cannot be met by cutting heads"),
                    HasSubstr("the least is " + std::to_string(weights(all)))));
  EXPECT_THAT(error_of([&] { shares_within({.most = 1'000'000'000}, heads, {}, smol(), 2); }),
              HasSubstr("nothing is to go"));
}

}  // namespace
}  // namespace edgeq

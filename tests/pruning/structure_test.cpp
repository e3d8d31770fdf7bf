// SPDX-License-Identifier: Apache-2.0
#include "pruning/structure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/message.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr LayerShape kSmolLm{.heads = 9, .kv_heads = 3, .head_dim = 64, .ffn = 1536};

TEST(Structure, AThirdOfNineHeadsIsThreeAndKeepsEveryKvHead) {
  for (const double share : {0.33, 0.3, 1.0 / 3, 0.35}) {
    const LayerShape after = shape_after(kSmolLm, {.heads = share});
    EXPECT_EQ(after.heads, 6) << share;
    EXPECT_EQ(after.kv_heads, 3) << share;
    EXPECT_EQ(after.ffn, kSmolLm.ffn);
  }
  const LayerShape groups = shape_after(kSmolLm, {.heads = 0.33, .whole_groups = true});
  EXPECT_EQ(groups.heads, 6);
  EXPECT_EQ(groups.kv_heads, 2);
  EXPECT_EQ(shape_after(kSmolLm, {.heads = 0.56}).kv_heads, 2) << "four heads are two on each of two";
  EXPECT_EQ(shape_after(kSmolLm, {.heads = 0.67}).heads, 3);
}

TEST(Structure, ANumberOfHeadsThatNoConfigSaysIsRefusedWithTheNearest) {
  EXPECT_THAT(
      error_of([] { shape_after(kSmolLm, {.heads = 0.45}); }),
      AllOf(HasSubstr("leaves 5, which no config says"), HasSubstr("0.33 (leaves 6) and 0.56 (leaves 4)")));
  EXPECT_THAT(error_of([] { shape_after(kSmolLm, {.heads = 0.02}); }), HasSubstr("less than half of one"));
  EXPECT_THAT(error_of([] { shape_after(kSmolLm, {.heads = 0.99}); }), HasSubstr("leaves none"));
}

TEST(Structure, HeadsWithKeysOfTheirOwnGoWithThem) {
  const LayerShape after =
      shape_after({.heads = 12, .kv_heads = 12, .head_dim = 64, .ffn = 3072}, {.heads = 0.25});
  EXPECT_EQ(after.heads, 9);
  EXPECT_EQ(after.kv_heads, 9);
}

TEST(Structure, ChannelsAreLeftInWholeBlocksOfTheFormats) {
  EXPECT_EQ(shape_after(kSmolLm, {.ffn = 0.25}).ffn, 1152);
  EXPECT_EQ(shape_after(kSmolLm, {.ffn = 0.25, .channel_multiple = 256}).ffn, 1280);
  EXPECT_EQ(shape_after({.heads = 1, .kv_heads = 1, .head_dim = 2, .ffn = 70}, {.ffn = 0.1}).ffn, 63);
  EXPECT_THAT(error_of([] { shape_after(kSmolLm, {.ffn = 0.01}); }),
              HasSubstr("in multiples of 64, is none"));
}

TEST(Structure, BlocksAreCountedToTheNearest) {
  EXPECT_EQ(blocks_after(30, 0.2), 24);
  EXPECT_EQ(blocks_after(30, 0), 30);
  EXPECT_THAT(error_of([] { blocks_after(2, 0.9); }), HasSubstr("leaves none"));
}

TEST(Structure, SharesThatAreNoneAreRefused) {
  const ModelConfig config = tiny_config();
  for (const double share : {1.0, -0.1, std::nan(""), std::numeric_limits<double>::infinity()})
    for (double CutShares::*which : {&CutShares::heads, &CutShares::ffn, &CutShares::blocks}) {
      CutShares shares;
      shares.*which = share;
      EXPECT_THAT(error_of([&] { check_shares(shares, config); }),
                  HasSubstr("expected a share of 0 to below 1"));
    }
  ModelConfig joint = config;
  joint.qk_norm = joint.joint_qk_norm = true;
  EXPECT_THAT(error_of([&] { check_shares({.heads = 0.5}, joint); }), HasSubstr("a head cannot go alone"));
}

TEST(Structure, CuttingTakesTheRowsThatMakeAUnitAndTheColumnsThatReadIt) {
  ModelConfig config = tiny_config();
  config.qkv_bias = true;
  const TinyCheckpoint checkpoint(config);
  const Block whole_block = load_block(checkpoint, 1);
  Block block = whole_block;
  cut_heads(block, {.heads = {1, 3}, .kv_heads = {0, 1}, .channels = {}}, 12);
  const auto weight = [](const Block& b, const char* part) { return find_site(b, part)->weight.matrix(); };
  ASSERT_EQ(weight(block, "attn.q_proj").rows, 24);
  EXPECT_EQ(weight(block, "attn.q_proj")(13, 5), weight(whole_block, "attn.q_proj")(37, 5));
  EXPECT_EQ(find_site(block, "attn.q_proj")->bias.f32()[13],
            find_site(whole_block, "attn.q_proj")->bias.f32()[37]);
  EXPECT_EQ(weight(block, "attn.o_proj")(7, 2), weight(whole_block, "attn.o_proj")(7, 14));
  EXPECT_EQ(weight(block, "attn.k_proj").rows, 24);
  cut_channels(block, {.heads = {}, .kv_heads = {}, .channels = {0, 69}});
  EXPECT_EQ(weight(block, "mlp.gate_proj")(1, 3), weight(whole_block, "mlp.gate_proj")(69, 3));
  EXPECT_EQ(weight(block, "mlp.down_proj")(4, 1), weight(whole_block, "mlp.down_proj")(4, 69));
  EXPECT_THAT(columns_of(std::vector<int64_t>{1, 3}, 2), ElementsAre(2, 3, 6, 7));
}

}  // namespace
}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "recipe/spread_heads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

constexpr LayerShape kNineOnThree = {.heads = 9, .kv_heads = 3, .head_dim = 64, .ffn = 1536};

std::vector<int64_t> heads_of(const std::vector<LayerShape>& layers) {
  std::vector<int64_t> heads;
  for (const LayerShape& layer : layers) heads.push_back(layer.heads);
  return heads;
}

// One head of every KV head is worth `least`, the others ten times as much.
std::vector<double> worth(double least) {
  std::vector<double> heads(9, 10 * least);
  for (size_t h = 0; h < 9; h += 3) heads[h] = least;
  return heads;
}

TEST(SpreadHeads, GoFromTheLayersThatLoseLeast) {
  std::vector<LayerShape> layers(4, kNineOnThree);
  const std::vector<std::vector<double>> heads = {worth(1), worth(4), worth(2), worth(3)};
  spread_heads(layers, heads, 1.0 / 6, false);  // 6 of 36: three of two layers
  EXPECT_EQ(heads_of(layers), (std::vector<int64_t>{6, 9, 6, 9}));
  for (const LayerShape& layer : layers) EXPECT_EQ(layer.kv_heads, 3);
}

TEST(SpreadHeads, WhatNoEqualLayersSayIsAnAverageOfThoseThatTheyCan) {
  std::vector<LayerShape> layers(5, kNineOnThree);
  std::vector<std::vector<double>> heads;
  for (int l = 0; l < 5; ++l) heads.push_back(worth(1 + l));
  spread_heads(layers, heads, 0.4, false);  // 18 of 45
  int64_t left = 0;
  for (const LayerShape& layer : layers) left += layer.heads;
  EXPECT_EQ(left, 27);
  EXPECT_GT(layers[4].heads, layers[0].heads);
}

TEST(SpreadHeads, AKvHeadThatIsWorthLittleGoesWithItsQueries) {
  std::vector<LayerShape> layers(2, kNineOnThree);
  const std::vector<double> group_gone = {5, 5, 5, 0, 0, 0, 5, 5, 5};
  const std::vector<std::vector<double>> heads = {group_gone, std::vector<double>(9, 1.0)};
  spread_heads(layers, heads, 1.0 / 6, true);
  EXPECT_EQ(layers[0].heads, 6);
  EXPECT_EQ(layers[0].kv_heads, 2);
  EXPECT_EQ(layers[1], kNineOnThree);
}

TEST(SpreadHeads, WhatCannotGoIsRefusedWithTheNumbers) {
  std::vector<LayerShape> layers(2, kNineOnThree);
  const std::vector<std::vector<double>> heads(2, worth(1));
  const auto message = [&](double share) -> std::string {
    try {
      spread_heads(layers, heads, share, false);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message(0.01), HasSubstr("0.01 of 18 heads in all layers is less than half of one"));
  EXPECT_THAT(message(0.95), HasSubstr("leaves 1; at least 2 have to stay"));
  EXPECT_EQ(layers[0], kNineOnThree);
}

}  // namespace
}  // namespace edgeq

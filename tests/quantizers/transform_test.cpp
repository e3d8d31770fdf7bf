// SPDX-License-Identifier: Apache-2.0
#include "quantizers/transform.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "models/folds.h"
#include "models/import.h"
#include "quantizers/channel_scales.h"
#include "quantizers/output_error.h"
#include "quantizers/registry.h"
#include "tests/quantizers/samples.h"
#include "tests/support/message.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Values = std::map<std::string, std::string>;

ModelConfig config_of() {
  ModelConfig config = tiny_config();
  config.hidden = 64;
  config.layers.assign(1, {.heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .window = 0});
  return config;
}

// A block, and inputs of its stages with some channels far above the others.
struct Sample {
  Sample() {
    for (const Stage& stage : block.stages) {
      const int64_t width = block.sites[size_t(stage.sites[0])].weight.cols();
      Tensor inputs = random_inputs(200, width, 0.5, uint64_t(width));
      for (int64_t t = 0; t < inputs.rows(); ++t)
        for (int64_t c = 3; c < width; c += 17) inputs.matrix()(t, c) *= 30;
      stats.push_back(stats_of(inputs));
    }
    schemes.assign(block.sites.size(), parse_scheme("int4-g32-sym"));
  }
  BlockFacts facts() const { return {.config = config, .stats = stats, .schemes = schemes}; }

  ModelConfig config = config_of();
  Block block = load_block(TinyCheckpoint(config), 0);
  std::vector<InputStats> stats;
  std::vector<std::optional<QuantScheme>> schemes;
};

// The factors that readers' columns were multiplied by.
std::vector<double> factors(const Fold& fold, const Block& before, const Block& after) {
  const auto a = before.sites[size_t(fold.readers[0])].weight.matrix();
  const auto b = after.sites[size_t(fold.readers[0])].weight.matrix();
  std::vector<double> factors;
  for (int64_t c = 0; c < a.cols; ++c) factors.push_back(double(b(0, c)) / double(a(0, c)));
  return factors;
}

TEST(Folds, ScalingChannelsScalesMakersTheOtherWay) {
  const Sample s;
  const std::vector<Fold> folds = folds_of(s.config, s.block);
  ASSERT_EQ(folds.size(), 4u);
  for (const Fold& fold : folds) {
    Block scaled = s.block;
    std::vector<float> scales(size_t(fold.channels), 1.0f);
    scales[5] = 4;
    scale_channels(scaled, fold, scales);
    for (const int i : fold.vectors) {
      EXPECT_EQ(scaled.others[size_t(i)].tensor.f32()[5], s.block.others[size_t(i)].tensor.f32()[5] / 4);
      EXPECT_EQ(scaled.others[size_t(i)].tensor.f32()[6], s.block.others[size_t(i)].tensor.f32()[6]);
    }
    if (fold.producer >= 0) {
      const auto& now = scaled.sites[size_t(fold.producer)].weight;
      EXPECT_EQ(now.matrix()(5, 7), s.block.sites[size_t(fold.producer)].weight.matrix()(5, 7) / 4);
    }
    for (int64_t c = 0; c < std::ssize(fold.channel_of_column); ++c)
      EXPECT_EQ(factors(fold, s.block, scaled)[size_t(c)], fold.channel_of_column[size_t(c)] == 5 ? 4 : 1);
  }
  // Query heads 0 and 1 read the values of head 0, 2 and 3 those of head 1.
  EXPECT_EQ(folds[2].channel_of_column[16 + 5], 5);
  EXPECT_EQ(folds[2].channel_of_column[2 * 16 + 5], 16 + 5);
}

TEST(Smooth, LeavesInputsAndWeightsWithMaximaInOneProportion) {
  const Sample s;
  Block block = s.block;
  make_transform("smooth", Options())->apply(block, s.facts());
  for (const Fold& fold : folds_of(s.config, block)) {
    const std::vector<double> scale = factors(fold, s.block, block);
    std::vector<double> inputs = input_maxima(fold, s.stats[size_t(fold.stage)]);
    const std::vector<double> weights = weight_maxima(fold, block);
    for (size_t c = 0; c < scale.size(); ++c) {
      const auto channel = size_t(fold.channel_of_column[c]);
      const double ratio = inputs[channel] / scale[c] / weights[channel];
      const double first =
          inputs[size_t(fold.channel_of_column[0])] / scale[0] / weights[size_t(fold.channel_of_column[0])];
      EXPECT_NEAR(ratio / first, 1, 1e-4) << fold.stage << " " << c;
    }
  }
}

double loss(const Sample& s, const Block& block, const Fold& fold) {
  // In the channels as they were: undo what the transform did.
  const std::vector<double> scale = factors(fold, s.block, block);
  double sum = 0;
  for (const int i : fold.readers) {
    const Tensor& weight = block.sites[size_t(i)].weight;
    Tensor rounded = dequantized(
        make_quantizer("rtn", *s.schemes[size_t(i)], Options())->quantize(weight.matrix(), {}).weight);
    Tensor exact = weight;
    for (Tensor* t : {&rounded, &exact})
      for (int64_t r = 0; r < t->rows(); ++r)
        for (int64_t c = 0; c < t->cols(); ++c) t->matrix()(r, c) /= float(scale[size_t(c)]);
    sum += output_error(exact.matrix(), rounded.matrix(), s.stats[size_t(fold.stage)]).squared;
  }
  return sum;
}

TEST(Awq, LosesLessAtUnevenInputsAndNeverMore) {
  const Sample s;
  Block block = s.block;
  make_transform("awq", Options())->apply(block, s.facts());
  for (const Fold& fold : folds_of(s.config, block)) {
    // v's and up's rows are rescaled by their own readers, which changes no code of theirs.
    const double before = loss(s, s.block, fold), after = loss(s, block, fold);
    EXPECT_LT(after, 0.8 * before) << fold.stage;
    // The check can tell: the scales the other way round lose more.
    Block reversed = s.block;
    std::vector<float> inverse(size_t(fold.channels), 1.0f);
    const std::vector<double> scale = factors(fold, s.block, block);
    for (size_t c = 0; c < scale.size(); ++c)
      inverse[size_t(fold.channel_of_column[c])] = float(1 / scale[c]);
    scale_channels(reversed, fold, inverse);
    EXPECT_GT(loss(s, reversed, fold), before) << fold.stage;
  }
}

TEST(Awq, SitesThatStayFloatAskForNothing) {
  Sample s;
  s.schemes.assign(s.block.sites.size(), std::nullopt);
  Block block = s.block;
  make_transform("awq", Options())->apply(block, s.facts());
  for (const Fold& fold : folds_of(s.config, block))
    for (const double factor : factors(fold, s.block, block)) EXPECT_EQ(factor, 1);
}

TEST(ChannelScales, HaveGeometricMeanOneAndBounds) {
  EXPECT_THAT(channel_scales({0.5, 2, 8, 2}), ElementsAre(0.25f, 1, 4, 1));
  EXPECT_THAT(channel_scales({1e-300, 1e300}),
              ElementsAre(float(1 / kMaxChannelScale), float(kMaxChannelScale)));
}

TEST(ChannelScales, DeadChannelsStayAsTheyAre) {
  EXPECT_THAT(channel_scales({0, 2, INFINITY, NAN}), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(channel_scales({0, 0}), ElementsAre(1, 1));
}

TEST(Transform, ChannelsWithoutInputsOrWeightsStayAsTheyAre) {
  for (const TransformEntry& entry : transforms()) {
    Sample s;
    for (const int i : s.block.stages[0].sites) {
      const auto weight = s.block.sites[size_t(i)].weight.matrix();
      for (int64_t r = 0; r < weight.rows; ++r) weight(r, 4) = 0;
    }
    InputStats& qkv = s.stats[0];
    qkv.abs_max.f32()[9] = qkv.square_mean.f32()[9] = 0;
    for (int64_t j = 0; j < qkv.width(); ++j) qkv.hessian.matrix()(9, j) = qkv.hessian.matrix()(j, 9) = 0;
    Block block = s.block;
    make_transform(entry.name, Options())->apply(block, s.facts());
    EXPECT_EQ(factors(folds_of(s.config, block)[3], s.block, block)[9], 1) << entry.name;
    for (const Site& site : block.sites)
      for (int64_t i = 0; i < site.weight.size(); ++i)
        ASSERT_TRUE(std::isfinite(site.weight.f32()[i])) << entry.name << " " << site.name;
    EXPECT_EQ(block.sites[0].weight.matrix()(1, 4), 0) << entry.name;
  }
}

TEST(Transform, AWeightThatIsNotFiniteIsNamed) {
  for (const TransformEntry& entry : transforms()) {
    Sample s;
    s.block.sites[1].weight.matrix()(2, 3) = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THAT(error_of([&] { make_transform(entry.name, Options())->apply(s.block, s.facts()); }),
                HasSubstr("layers.0.attn.k_proj: weight [2, 3] is nan"))
        << entry.name;
  }
}

// v and o of one head, multiplied: what attention makes of a value.
TEST(Rotate, KeepsEveryHeadAndSpreadsItsOutliers) {
  Sample s;
  const auto v_before = s.block.sites[2].weight.matrix();
  for (int64_t c = 0; c < v_before.cols; ++c) v_before(16 + 3, c) *= 50;
  Block block = s.block;
  make_transform("rotate", Options())->apply(block, s.facts());
  const auto through = [](const Block& b, int64_t row, int64_t column, int64_t head) {
    double sum = 0;
    for (int64_t d = 0; d < 16; ++d)
      sum += double(b.sites[3].weight.matrix()(row, head * 16 + d)) *
             double(b.sites[2].weight.matrix()(head / 2 * 16 + d, column));
    return sum;
  };
  for (int64_t head = 0; head < 4; ++head)
    for (int64_t i = 0; i < 64; i += 7)
      EXPECT_NEAR(through(block, i, 63 - i, head), through(s.block, i, 63 - i, head),
                  1e-5 * (1 + std::abs(through(s.block, i, 63 - i, head))));
  const auto largest = [](const Block& b) {
    double largest = 0;
    for (int64_t r = 16; r < 32; ++r)
      for (int64_t c = 0; c < 64; ++c)
        largest = std::max(largest, std::abs(double(b.sites[2].weight.matrix()(r, c))));
    return largest;
  };
  EXPECT_LT(largest(block), 0.3 * largest(s.block));  // a quarter: 1 / sqrt(16)
}

TEST(Transform, WhatItLeavesIsSaid) {
  const auto smooth = make_transform("smooth", Options());
  EXPECT_THAT(smooth->leaves(config_of()), IsEmpty());
  ModelConfig gpt2 = config_of();
  gpt2.gated_mlp = false;
  EXPECT_THAT(smooth->leaves(gpt2), ElementsAre("down reads through a nonlinearity"));
  ModelConfig olmo2 = config_of();
  olmo2.pre_norm = false;
  EXPECT_THAT(smooth->leaves(olmo2),
              ElementsAre("attention and feed-forward read the residual stream itself"));
}

TEST(Transform, NamesAndOptionsAreChecked) {
  EXPECT_THAT(error_of([] { make_transform("smoothquant", Options()); }),
              HasSubstr("unknown transform \"smoothquant\"; expected one of smooth, awq, rotate"));
  EXPECT_THAT(error_of([] {
                make_transform("smooth", Options(Values{{"alpha", "1.5"}}));
              }),
              HasSubstr("alpha"));
  EXPECT_THAT(error_of([] { make_transform("awq", Options(Values{{"alpha", "0.5"}})); }), HasSubstr("alpha"));
}

}  // namespace
}  // namespace edgeq

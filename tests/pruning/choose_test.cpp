// SPDX-License-Identifier: Apache-2.0
#include "pruning/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr LayerShape kBefore{.heads = 6, .kv_heads = 3, .head_dim = 2, .ffn = 12};

// A reader of 12 columns, whose inputs have the mean squares and the means given; columns of equal weight.
struct Facts {
  Tensor reader = Tensor(DType::f32, {5, 12});
  InputStats inputs;
  GateMoments gates;

  Facts() {
    inputs = stats_of(random_inputs(200, 12, 0.2, 1));
    for (int64_t i = 0; i < reader.size(); ++i) reader.f32()[i] = 1;
  }
  UnitFacts of(int64_t width) const {
    return {.reader = reader.matrix(), .width = width, .makers = {}, .inputs = &inputs, .gates = &gates};
  }
};

TEST(Choose, EveryKvHeadKeepsItsBestQueryHead) {
  Facts facts;
  facts.gates.square = {1, 2, 9, 8, 3, 4};
  const LayerShape after{.heads = 3, .kv_heads = 3, .head_dim = 2, .ffn = 12};
  const Choice choice = choose_heads(unit_score("taylor"), facts.of(2), kBefore, after);
  EXPECT_THAT(choice.kept.heads, ElementsAre(1, 2, 5)) << "8 of the second KV head goes, though 2 stays";
  EXPECT_THAT(choice.kept.kv_heads, ElementsAre(0, 1, 2));
  const LayerShape fewer{.heads = 2, .kv_heads = 2, .head_dim = 2, .ffn = 12};
  const Choice groups = choose_heads(unit_score("taylor"), facts.of(2), kBefore, fewer);
  EXPECT_THAT(groups.kept.heads, ElementsAre(2, 5));
  EXPECT_THAT(groups.kept.kv_heads, ElementsAre(1, 2));
}

TEST(Choose, ObsKeepsTheSameShapeOfHeads) {
  const Facts facts;
  for (const LayerShape after : {LayerShape{.heads = 3, .kv_heads = 3}, LayerShape{.heads = 2, .kv_heads = 2},
                                 LayerShape{.heads = 2, .kv_heads = 1}}) {
    const Choice choice = choose_heads(unit_score("obs"), facts.of(2), kBefore, after);
    EXPECT_EQ(std::ssize(choice.kept.heads), after.heads);
    EXPECT_EQ(std::ssize(choice.kept.kv_heads), after.kv_heads);
    for (const int64_t kv : choice.kept.kv_heads)
      EXPECT_EQ(std::ranges::count_if(choice.kept.heads, [&](int64_t h) { return h / 2 == kv; }),
                after.heads / after.kv_heads);
  }
}

TEST(Choose, ScoresAreWhatTheySay) {
  Facts facts;
  const auto wanda = unit_score("wanda").score(facts.of(1)), flap = unit_score("flap").score(facts.of(1)),
             magnitude = unit_score("magnitude").score(facts.of(1));
  for (size_t j = 0; j < 12; ++j) {
    const double square = double(facts.inputs.square_mean.f32()[j]),
                 mean = double(facts.inputs.mean.f32()[j]);
    EXPECT_NEAR(wanda[j], 5 * square, 1e-6 * square);
    EXPECT_NEAR(flap[j], 5 * (square - mean * mean), 1e-5 * square);
    EXPECT_EQ(magnitude[j], 5);
  }
}

// A constant input is worth something to wanda, and nothing to flap, since a bias could stand in for it.
TEST(Choose, FlapLetsGoWhatDoesNotFluctuate) {
  Facts facts;
  facts.inputs.square_mean.f32()[7] = 100;
  facts.inputs.mean.f32()[7] = 10;
  const auto kept = [&](const char* name) {
    return choose_channels(unit_score(name), facts.of(1), 11).kept.channels;
  };
  EXPECT_EQ(std::ranges::count(kept("flap"), 7), 0);
  EXPECT_EQ(std::ranges::count(kept("wanda"), 7), 1);
}

// d/ds of the loss with s * W_u x_u added, by its definition.
TEST(Choose, GateGradientsAreThoseOfTheUnitsOutputs) {
  const Tensor w = random_matrix(5, 6, 1), x = random_matrix(7, 6, 2), g = random_matrix(7, 5, 3);
  const Tensor gates = gate_gradients(w.matrix(), 3, x.matrix(), g.matrix());
  for (int64_t t = 0; t < 7; ++t)
    for (int64_t u = 0; u < 2; ++u) {
      double sum = 0;
      for (int64_t r = 0; r < 5; ++r)
        for (int64_t c = 3 * u; c < 3 * u + 3; ++c)
          sum += double(g.matrix()(t, r)) * double(w.matrix()(r, c)) * double(x.matrix()(t, c));
      EXPECT_NEAR(gates.matrix()(t, u), sum, 1e-4);  // f32 sums of 15 terms of order 1
    }
}

TEST(Choose, UnknownScoresAreRefusedWithTheKnown) {
  EXPECT_THAT(error_of([] { unit_score("taylr"); }), HasSubstr("unknown score \"taylr\""));
  EXPECT_THAT(error_of([] { unit_score("influence"); }), HasSubstr("of heads and channels"));
  EXPECT_THAT(error_of([] { block_score("wanda"); }), HasSubstr("expected one of taylor, influence"));
}

}  // namespace
}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "recipe/factors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "core/error.h"
#include "recipe/parse.h"
#include "recipe/plan.h"
#include "recipe/tune_state.h"
#include "tests/support/random_quantized.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Options options_of(std::map<std::string, std::string> values) { return Options(std::move(values)); }
Tuning everything() { return make_tuning({}); }

// A part with one weight of a block and a norm.
PartResult part_of(const std::string& scheme) {
  Random random(3);
  PartResult part{.part = "layers.0", .sites = {}, .vectors = {}};
  part.sites.push_back({.name = "layers.0.attn.q_proj",
                        .quantized = random_quantized(parse_scheme(scheme), 6, 512, random),
                        .kept = {},
                        .bias = {},
                        .report = {}});
  Tensor gain(DType::f32, {512});
  for (int64_t i = 0; i < gain.size(); ++i) gain.f32()[i] = 1 + 0.01f * float(i % 7);
  part.vectors.push_back({"layers.0.attn_norm", gain});
  return part;
}

Tensor waves(const Shape& shape, double pace) {
  Tensor tensor(DType::f32, shape);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.f32()[i] = float(std::sin(pace * double(i)));
  return tensor;
}

class Factors : public testing::TestWithParam<std::string> {};

TEST_P(Factors, OfZeroLeaveEveryBit) {
  const PartResult before = part_of(GetParam());
  for (const Stored stored : {Stored::exact, Stored::rounded}) {
    PartResult after = before;
    move_by_factors(after, std::vector<float>(size_t(factor_count(before, everything())), 0.0f), everything(),
                    stored);
    EXPECT_EQ(after.sites[0].quantized, before.sites[0].quantized);
    EXPECT_EQ(std::memcmp(after.vectors[0].tensor.data(), before.vectors[0].tensor.data(), 512 * 4), 0);
  }
}

// <G, weight> is linear in each factor alone; where scale and offset move together the product of both adds
// an h^2, which the central difference cancels.
TEST_P(Factors, GradientsAreThoseOfFiniteDifferences) {
  const PartResult part = part_of(GetParam());
  for (const char* scales : {"groups", "rows"}) {
    const Tuning tuning = make_tuning(options_of({{"scales", scales}}));
    const auto count = size_t(factor_count(part, tuning));
    const std::vector<Tensor> of_weights{waves({6, 512}, 0.7)}, of_norms{waves({512}, 1.3)};
    std::vector<float> gradient(count);
    factor_gradients(part, of_weights, of_norms, tuning, gradient);
    const Tensor direction = waves({int64_t(count)}, 2.1);
    const auto value = [&](double h) {
      std::vector<float> factors(count);
      for (size_t i = 0; i < count; ++i) factors[i] = float(h * double(direction.f32()[i]));
      PartResult moved = part;
      move_by_factors(moved, factors, tuning, Stored::exact);
      Tensor weight(DType::f32, {6, 512});
      dequantize_into(*moved.sites[0].quantized, weight.matrix());
      double sum = 0;
      for (int64_t i = 0; i < weight.size(); ++i)
        sum += double(weight.f32()[i]) * double(of_weights[0].f32()[i]);
      for (int64_t i = 0; i < 512; ++i)
        sum += double(moved.vectors[0].tensor.f32()[i]) * double(of_norms[0].f32()[i]);
      return sum;
    };
    const double h = 1e-2, difference = (value(h) - value(-h)) / (2 * h);
    double slope = 0;
    for (size_t i = 0; i < count; ++i) slope += double(gradient[i]) * double(direction.f32()[i]);
    EXPECT_NEAR(slope, difference, 1e-3 * std::abs(difference) + 1e-4) << scales;
    EXPECT_GT(std::abs(1.05 * slope - difference), 1e-3 * std::abs(difference)) << "a 5 % error must show";
  }
}

TEST_P(Factors, RoundedFloatsAreThoseThatTheSchemeStores) {
  PartResult part = part_of(GetParam());
  std::vector<float> factors(size_t(factor_count(part, everything())));
  for (size_t i = 0; i < factors.size(); ++i) factors[i] = 0.01f * float(std::sin(double(i)));
  const PartResult before = part;
  move_by_factors(part, factors, everything(), Stored::rounded);
  const QuantizedTensor& q = *part.sites[0].quantized;
  EXPECT_NE(q, *before.sites[0].quantized);
  EXPECT_EQ(q.codes, before.sites[0].quantized->codes);
  EXPECT_EQ(q.scale_codes, before.sites[0].quantized->scale_codes);
  for (const auto* floats : {&q.scales, &q.offsets, &q.outer_scales, &q.outer_offsets})
    for (const float value : *floats) EXPECT_EQ(value, round_to_store(value, q.scheme.store));
}

INSTANTIATE_TEST_SUITE_P(, Factors,
                         testing::Values("int2-g64-sym", "int3-g32-asym", "int2-g32-offset", "int4-g32-s8",
                                         "iq4nl-g32", "int4-channel-sym", "q4_k", "q6_k"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase_if(name, [](char c) { return c == '-' || c == '_'; });
                           return name;
                         });

TEST(FactorsOfAPart, LeaveTablesAndPositionsAlone) {
  PartResult table = part_of("int8-g32-sym");
  table.part = table.sites[0].name = "embedding";
  table.vectors.push_back({"positions", waves({64, 512}, 1)});
  EXPECT_EQ(factor_count(table, everything()), 512);
}

TEST(Tuning, OptionsThatAreNoneAreRefusedByName) {
  const auto make = [](const std::string& name, const std::string& value) {
    make_tuning(options_of({{name, value}}));
  };
  EXPECT_THAT([&] { make("scale", "rows"); }, ThrowsMessage<Error>(HasSubstr("scale")));
  EXPECT_THAT([&] { make("scales", "columns"); },
              ThrowsMessage<Error>(HasSubstr("scales is \"columns\"; expected groups, rows or none")));
  EXPECT_THAT([&] { make("rate", "0"); }, ThrowsMessage<Error>(HasSubstr("rate")));
  EXPECT_THAT([&] { make("rate", "nan"); }, ThrowsMessage<Error>(HasSubstr("rate")));
  EXPECT_THAT([&] { make("epochs", "0"); }, ThrowsMessage<Error>(HasSubstr("epochs")));
  EXPECT_THAT(
      [] {
        make_tuning(options_of({{"scales", "none"}, {"norms", "false"}}));
      },
      ThrowsMessage<Error>(HasSubstr("nothing is left to train")));
}

TEST(Tuning, ARecipeIsRefusedWhereNoWindowIsLeft) {
  const auto plan = [](const std::string& tune) {
    const TinyCheckpoint checkpoint(tiny_config());
    return make_plan(parse_recipe("calibration: {corpus: text.txt}\ntune: " + tune +
                                      "\nrules: [{match: \"*\", quantizer: rtn, scheme: int8-channel-sym}]\n",
                                  "r.yaml"),
                     checkpoint);
  };
  EXPECT_THAT([&] { plan("{windows: 1}"); },
              ThrowsMessage<Error>(HasSubstr("r.yaml:2: tune: option windows is \"1\"")));
  EXPECT_THAT([&] { plan("{windows: 8, heldout: 8}"); },
              ThrowsMessage<Error>(HasSubstr("tune: holds out 8 of 8 windows")));
  EXPECT_THAT([&] { plan("{rates: 1}"); }, ThrowsMessage<Error>(HasSubstr("r.yaml:2: tune: ")));
  EXPECT_TRUE(plan("{windows: 2}").needs_gradients());
  EXPECT_TRUE(plan("{}").needs_text());
  EXPECT_FALSE(plan("{}").needs_statistics());
  EXPECT_THAT(plan_text(plan("{}")),
              HasSubstr("tune: a scale per group, offsets, norms on 56 windows, 8 held out"));
}

TEST(TuneState, KeepsTheBestAndStopsWhenNothingIsBetter) {
  TuneState state(3);
  state.measured(1.0f, 2);
  state.factors = {1, 2, 3};
  state.train = {0.9f};
  state.measured(0.8f, 2);
  state.factors = {4, 5, 6};
  state.train.push_back(0.7f);
  state.measured(std::numeric_limits<float>::quiet_NaN(), 2);
  EXPECT_EQ(state.stop, TuneStop::no);
  state.measured(0.8f, 2);
  EXPECT_EQ(state.stop, TuneStop::patience);
  EXPECT_EQ(state.kept, 1);
  EXPECT_THAT(state.best, testing::ElementsAre(1, 2, 3));
  const TuneState again(state.as_part("tune.state"), 3);
  EXPECT_EQ(again.best, state.best);
  EXPECT_EQ(again.train, state.train);
  EXPECT_EQ(again.kept, 1);
  EXPECT_EQ(again.stop, TuneStop::patience);
  EXPECT_THAT([&] { TuneState(state.as_part("tune.state"), 4); },
              ThrowsMessage<Error>(HasSubstr("not of a training of 4 numbers")));
}

}  // namespace
}  // namespace edgeq

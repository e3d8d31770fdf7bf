// SPDX-License-Identifier: Apache-2.0
#include "recipe/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "recipe/parse.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig wide_config(bool tied = true) {
  ModelConfig config = tiny_config();
  config.hidden = 192;
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 48, .ffn = 320, .window = 0});
  config.tied_head = tied;
  return config;
}

Plan plan_of(const std::string& rules, bool tied = true, const std::string& head = "") {
  return make_plan(parse_recipe(head + "rules:\n" + rules, "r.yaml"), TinyCheckpoint(wide_config(tied)));
}

TEST(Plan, TheFirstRuleThatMatchesDecides) {
  const Plan plan = plan_of(
      "  - {match: \"layers.1.*\", keep: bf16}\n"
      "  - {match: \"*.down_proj\", quantizer: rtn, scheme: int8-channel-sym}\n"
      "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym}\n");
  EXPECT_EQ(plan.sites.size(), 15u);
  EXPECT_EQ(plan.site("layers.0.mlp.down_proj").treatment(), "rtn int8-channel-sym");
  EXPECT_EQ(plan.site("layers.1.mlp.down_proj").treatment(), "keep BF16");
  EXPECT_EQ(plan.site("embedding").treatment(), "rtn int4-g64-sym");
  EXPECT_FALSE(plan.needs_statistics());
}

TEST(Plan, BytesAreThoseOfTheKernelsLayout) {
  const Plan plan = plan_of("  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym}\n");
  // 192 x 192: 12 panels of 6 blocks x 256 bytes and 3 groups x 16 scales x 2 bytes, padded to 64.
  EXPECT_EQ(plan.site("layers.0.attn.q_proj").bytes, 12 * (6 * 256 + 128));
}

TEST(Plan, ATiedTableAnswersToRulesForTheHead) {
  const std::string rules =
      "  - {match: \"head\", keep: f16}\n"
      "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym}\n";
  EXPECT_EQ(plan_of(rules, true).site("embedding").treatment(), "keep F16");
  EXPECT_EQ(plan_of(rules, false).site("embedding").treatment(), "rtn int4-g64-sym");
  EXPECT_EQ(plan_of(rules, false).site("head").treatment(), "keep F16");
}

TEST(Plan, TheTargetFixesTheGrid) {
  const Plan plan = plan_of(
      "  - {match: \"embedding\", quantizer: rtn, scheme: int8-channel-sym}\n"
      "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-asym}\n",
      true, "for: gguf:q4_0\n");
  EXPECT_EQ(scheme_text(plan.site("embedding").scheme), "int8-g32-sym");
  EXPECT_EQ(scheme_text(plan.site("layers.0.attn.k_proj").scheme), "int4-g32-sym");
  const Plan table = plan_of(
      "  - {match: \"embedding\", quantizer: rtn, scheme: int6-g32-sym}\n"
      "  - {match: \"*\", quantizer: rtn, scheme: iq4nl-g32-s8}\n",
      true, "for: gguf:iq4_nl\n");
  EXPECT_EQ(scheme_text(table.site("embedding").scheme), "int8-g32-sym");
  EXPECT_EQ(scheme_text(table.site("layers.0.attn.k_proj").scheme), "iq4nl-g32");
}

TEST(Plan, TransformsCallForTextAndAreRefusedByLine) {
  const std::string rules = "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym}\n";
  const std::string text = "calibration: {corpus: a.txt}\n";
  const Plan plan = plan_of(rules, true, text + "transforms: [smooth]\n");
  EXPECT_TRUE(plan.needs_statistics());
  EXPECT_FALSE(plan.needs_two_streams());
  EXPECT_THAT(plan_text(plan), HasSubstr("transform: smooth\n"));
  EXPECT_THAT([&] { plan_of(rules, true, text + "transforms: [{awq: {step: 3}}]\n"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("recipe r:2: awq: "), HasSubstr("step"))));
  EXPECT_THAT(
      [&] { plan_of(rules, true, "calibration: {corpus: a.txt, statistics: s.h5}\ntransforms: [awq]\n"); },
      ThrowsMessage<Error>("recipe r:2: awq changes the inputs that cached statistics are of"));
  EXPECT_THAT([&] { plan_of(rules, true, "calibration: {statistics: s.h5, inputs: int8_token}\n"); },
              ThrowsMessage<Error>(
                  "recipe r: inputs int8_token cannot be had of cached statistics, which are of floats"));
}

TEST(Plan, RefusalsNameTheLineAndTheSite) {
  const auto throws = [](const std::string& rules) { return [=] { plan_of(rules); }; };
  EXPECT_THAT(throws("  - {match: \"*.dwon_proj\", keep: f16}\n"),
              ThrowsMessage<Error>("recipe r:2: rule \"*.dwon_proj\" matches no site"));
  EXPECT_THAT(throws("  - {match: \"*.down_proj\", keep: f16}\n"),
              ThrowsMessage<Error>(HasSubstr("no rule matches embedding")));
  EXPECT_THAT(throws("  - {match: \"*\", quantizer: rtn, scheme: int4-g128-sym}\n"),
              ThrowsMessage<Error>("recipe r:2: embedding: group 128 does not divide 192 columns"));
  EXPECT_THAT(throws("  - {match: \"*\", quantizer: rtn, scheme: q6_k}\n"),
              ThrowsMessage<Error>(HasSubstr("q6_k has super-blocks of 256")));
  EXPECT_THAT(throws("  - {match: \"*\", quantizer: rnt, scheme: int4-g64-sym}\n"),
              ThrowsMessage<Error>(AllOf(HasSubstr("recipe r:2: "), HasSubstr("rnt"), HasSubstr("gptq"))));
  EXPECT_THAT(throws("  - {match: \"*\", quantizer: gptq, scheme: int4-g64-sym, options: {dampp: 1}}\n"),
              ThrowsMessage<Error>(AllOf(HasSubstr("recipe r:2: "), HasSubstr("dampp"))));
  EXPECT_THAT(
      throws("  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym, refine: [polihs]}\n"),
      ThrowsMessage<Error>(AllOf(HasSubstr("recipe r:2: "), HasSubstr("unknown refiner \"polihs\""))));
  EXPECT_THAT(throws("  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym, correct: {strength: 3}}\n"),
              ThrowsMessage<Error>(AllOf(HasSubstr("recipe r:2: "), HasSubstr("option strength is \"3\""))));
}

TEST(Plan, AModelThatTheTargetHasNoPlaceForIsRefusedBeforeAnyWork) {
  const auto plan_for = [](const ModelConfig& config, const std::string& target) {
    make_plan(parse_recipe("for: " + target +
                               "\nrules:\n  - {match: embedding, keep: f16}\n"
                               "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-asym}\n",
                           "r.yaml"),
              TinyCheckpoint(config));
  };
  ModelConfig gpt2 = wide_config();
  gpt2.family = "gpt2";
  for (const std::string target : {"gptq", "awq", "compressed-tensors"})
    EXPECT_THAT([&] { plan_for(gpt2, target); },
                ThrowsMessage<Error>(AllOf(HasSubstr(target + ": "), HasSubstr("transposed"))));
  ModelConfig capped = wide_config();
  capped.logit_soft_cap = 30;
  EXPECT_THAT([&] { plan_for(capped, "gguf:q4_1"); }, ThrowsMessage<Error>(HasSubstr("gguf:q4_1: ")));
  plan_for(wide_config(), "gguf:q4_1");
}

TEST(Plan, RefinersNeedAHessianWhateverTheQuantizer) {
  const std::string rules =
      "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym, refine: [polish, refit]}\n";
  const Plan plan = plan_of(rules, true, "calibration: {corpus: t.txt}\n");
  EXPECT_EQ(plan.site("layers.0.mlp.up_proj").needs(), unsigned(kNeedHessian));
  EXPECT_EQ(plan.site("layers.0.mlp.up_proj").treatment(), "rtn int4-g64-sym, refined 2 x");
  EXPECT_FALSE(plan.needs_two_streams());
}

TEST(Plan, CorrectionNeedsTwoStreamsAndNoCachedStatistics) {
  const std::string rules =
      "  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym, correct: {strength: 0.25}}\n";
  const Plan plan = plan_of(rules, true, "calibration: {corpus: t.txt}\n");
  EXPECT_EQ(plan.site("layers.0.mlp.up_proj").treatment(), "rtn int4-g64-sym, corrected 0.25");
  EXPECT_EQ(plan.site("embedding").treatment(), "rtn int4-g64-sym");
  EXPECT_TRUE(plan.needs_two_streams());
  const Plan cached = plan_of(rules, true, "calibration: {corpus: t.txt, statistics: s.h5}\n");
  EXPECT_FALSE(cached.needs_two_streams());
  EXPECT_EQ(cached.site("layers.0.mlp.up_proj").treatment(), "rtn int4-g64-sym");
}

TEST(Plan, TextGroupsSitesOfAKind) {
  const std::string text = plan_text(plan_of("  - {match: \"*\", quantizer: rtn, scheme: int4-g64-sym}\n"));
  EXPECT_THAT(text, AllOf(HasSubstr("layers.*.attn.q_proj"), HasSubstr("192 x 192"), HasSubstr("15 sites")));
}

const std::string kOpen =
    "  - {match: \"head\", quantizer: gptq, scheme: int6-g32-sym}\n"
    "  - {match: \"*\", quantizer: gptq, scheme: [int8-g32-sym, int3-g32-s8, int4-g32-s8]}\n";

TEST(Plan, ABudgetLeavesSitesOpenAndAPlainRuleIsAHandOnIt) {
  const Plan plan = plan_of(kOpen, true, "calibration: {corpus: t.txt}\nbudget: {bits_per_weight: 5}\n");
  EXPECT_TRUE(plan.is_open());
  EXPECT_TRUE(plan.needs_statistics());
  EXPECT_EQ(plan.candidates[0].size(), 1u);
  ASSERT_EQ(plan.candidates[1].size(), 3u);
  EXPECT_EQ(scheme_text(plan.candidates[1][0].scheme), "int3-g32-s8");
  EXPECT_LT(plan.candidates[1][1].bytes, plan.candidates[1][2].bytes);
  EXPECT_EQ(plan.budget_bytes, plan.weights * 5 / 8);
  EXPECT_THAT(plan_text(plan), AllOf(HasSubstr("one of int3-g32-s8 | int4-g32-s8 | int8-g32-sym"),
                                     HasSubstr("a budget of 5 bits per weight chooses")));
  std::vector<int> picks(plan.sites.size(), 2);
  picks[0] = 0;
  const Plan largest = choose(plan, picks);
  EXPECT_FALSE(largest.is_open());
  EXPECT_EQ(largest.weight_bytes, plan.largest_bytes());
  EXPECT_EQ(largest.site("layers.1.mlp.up_proj").treatment(), "gptq int8-g32-sym");
}

TEST(Plan, CandidatesThatATargetMakesEqualAreOne) {
  const std::string rules =
      "  - {match: \"*\", quantizer: gptq, scheme: [int3-g32-s8, int4-g32-s8, iq4nl-g32-s8, int5-g32-sym, "
      "int6-g32-s8, int8-g32-sym]}\n";
  const Plan plan =
      plan_of(rules, true, "for: gguf\ncalibration: {corpus: t.txt}\nbudget: {bits_per_weight: 5}\n");
  std::vector<std::string> schemes;
  for (const SitePlan& site : plan.candidates[1]) schemes.push_back(scheme_text(site.scheme));
  EXPECT_THAT(schemes, testing::ElementsAre("int4-g32-sym", "iq4nl-g32", "int5-g32-sym", "int8-g32-sym"));
  // Q5_0: 22 bytes for 32 weights, without the padding of panels.
  EXPECT_EQ(plan.candidates[1][2].bytes, 192 * 192 / 32 * 22);
}

TEST(Plan, ABudgetOutsideOfWhatCandidatesTakeIsRefusedWithWhatIsPossible) {
  const auto throws = [](const std::string& head, const std::string& rules = kOpen) {
    return [=] { plan_of(rules, true, head + "calibration: {corpus: t.txt}\n"); };
  };
  EXPECT_THAT(throws("budget: {bits_per_weight: 2}\n"),
              ThrowsMessage<Error>(AllOf(HasSubstr("recipe r: budget: 2 bits per weight is below what the "
                                                   "candidates take: 3."),
                                         HasSubstr(" bits per weight to 8."))));
  EXPECT_THAT(throws("budget: {bits_per_weight: 20}\n"), ThrowsMessage<Error>(HasSubstr("is above what")));
  EXPECT_THAT(
      throws("budget: {bits_per_weight: 4}\n", "  - {match: \"*\", quantizer: gptq, scheme: int4-g32-sym}\n"),
      ThrowsMessage<Error>("recipe r: budget: no rule leaves it a choice"));
  EXPECT_THAT(throws(""),
              ThrowsMessage<Error>("recipe r:4: several schemes and no budget to choose among them"));
}

}  // namespace
}  // namespace edgeq

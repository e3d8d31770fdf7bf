// SPDX-License-Identifier: Apache-2.0
#include "recipe/sensitivity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/parallel.h"
#include "quantizers/output_error.h"
#include "recipe/allocate.h"
#include "recipe/compress.h"
#include "recipe/compress_site.h"
#include "recipe/parse.h"
#include "tests/support/fake_model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace edgeq {
namespace {

ModelConfig config_of(bool tied) {
  ModelConfig config = tiny_config();
  config.hidden = 64;
  config.layers.assign(2, {.heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .window = 0});
  config.tied_head = tied;
  return config;
}

// Gradients that are the same for every token and output: of each site by its name, so that what a candidate
// costs is known in closed form.
class FlatGradients final : public BackwardModel {
 public:
  static float of_site(const std::string& name) { return name.ends_with("v_proj") ? 3.0f : 1.0f; }
  static constexpr float kHead = 0.25f, kStream = 0.5f;

  Tensor logits(const Ends& ends, const Tensor& hidden) const override {
    return filled(hidden.rows(), ends.head_site().weight.rows(), 0.0f);
  }
  HeadGradients through_head(const Ends& ends, const Tensor& hidden, const LossGradient&) const override {
    return {.hidden = filled(hidden.rows(), hidden.cols(), kStream),
            .site = filled(hidden.rows(), ends.head_site().weight.rows(), kHead),
            .others = {}};
  }
  Tensor leaving(const Block&, const Tensor& hidden, Products) const override { return hidden; }
  BlockGradients through_block(const Block& block, const Tensor& hidden, const Tensor& gradient,
                               SiteGradients, Products) const override {
    BlockGradients result{.hidden = gradient, .sites = {}, .others = {}};
    for (const Site& site : block.sites)
      result.sites.push_back(filled(hidden.rows(), site.weight.rows(), of_site(site.name)));
    return result;
  }

 private:
  static Tensor filled(int64_t rows, int64_t cols, float value) {
    Tensor tensor(DType::f32, {rows, cols});
    std::fill_n(tensor.f32(), tensor.size(), value);
    return tensor;
  }
};

struct Setting {
  explicit Setting(bool tied = true)
      : checkpoint(config_of(tied)),
        model(checkpoint),
        plan(
            make_plan(parse_recipe("calibration: {corpus: text.txt}\n"
                                   "budget: {bits_per_weight: 7}\n"
                                   "rules:\n"
                                   "  - {match: \"*.down_proj\", keep: f16}\n"
                                   "  - {match: \"*\", quantizer: gptq, scheme: [int8-g32-sym, int3-g32-sym, "
                                   "int4-g32-sym]}\n",
                                   "r.yaml"),
                      checkpoint)) {
    for (int i = 0; i < 24 * 6; ++i) text.tokens.push_back(TokenId(i * 37 % 83));
  }
  std::vector<std::vector<double>> measure(Journal& journal) const {
    return measure_sensitivities({.plan = plan, .model = model, .backward = backward, .windows = text},
                                 journal, {});
  }
  size_t index_of(const std::string& site) const { return size_t(&plan.site(site) - plan.sites.data()); }

  TinyCheckpoint checkpoint;
  FakeModel model;
  FlatGradients backward;
  Plan plan;
  Windows text{.length = 24, .tokens = {}};
};

TEST(Sensitivity, IsTheSecondOrderLossOfEachCandidate) {
  const TempDir dir;
  const Setting setting;
  Journal journal(dir.file("work"), "key");
  const auto costs = setting.measure(journal);
  const StatsMap stats = float_statistics(setting.model, setting.text, kNeedHessian, {});
  for (const Site& site : setting.model.load(1).sites) {
    const size_t i = setting.index_of(site.name);
    if (site.name.ends_with("down_proj")) {
      EXPECT_TRUE(costs[i].empty());
      continue;
    }
    const bool qkv = site.name.find(".attn.") != std::string::npos && !site.name.ends_with("o_proj");
    const InputStats& input = stats.at(qkv                             ? "layers.1.qkv"
                                       : site.name.ends_with("o_proj") ? "layers.1.o"
                                                                       : "layers.1.gate_up");
    ASSERT_EQ(costs[i].size(), 3u);
    for (size_t c = 0; c < 3; ++c) {
      Site whole = site;
      compress_site(setting.plan.candidates[i][c], whole, input);
      const double g = double(FlatGradients::of_site(site.name));
      const double expected =
          0.5 * g * g * output_error(site.weight.matrix(), whole.weight.matrix(), input).squared;
      // Rows are drawn, most of them more than once: 128 of at most 96. Gradients 5 % off cost 10 %.
      EXPECT_NEAR(costs[i][c], expected, 0.08 * expected) << site.name << " " << c;
    }
    EXPECT_GT(costs[i][0], costs[i][1]);
    EXPECT_GT(costs[i][1], 50 * costs[i][2]);
  }
}

TEST(Sensitivity, ATiedTablePaysForBothOfItsUses) {
  const TempDir dir;
  const Setting tied(true), untied(false);
  Journal one(dir.file("tied"), "key"), two(dir.file("untied"), "key");
  const auto both = tied.measure(one)[tied.index_of("embedding")];
  const auto apart = untied.measure(two);
  const auto& table = apart[untied.index_of("embedding")];
  const auto& head = apart[untied.index_of("head")];
  for (size_t c = 0; c < 3; ++c) {
    // A look-up: half the squared gradient of the stream times the squared error of a row. Values are drawn
    // from a normal distribution, whose error at 3 bits is some 4 % of its variance, at 8 bits 1e-5.
    EXPECT_GT(table[c], 0);
    EXPECT_GT(both[c], table[c]);
    if (c > 0) {
      EXPECT_LT(head[c], head[c - 1]);
    }
  }
  const double energy = 0.5 * 0.5 * 0.5 * 64;  // 1/2 g^2 times 64 columns of variance 1
  EXPECT_GT(table[0], 0.02 * energy);
  EXPECT_LT(table[0], 0.08 * energy);
}

TEST(Sensitivity, IsTheSameForAnyNumberOfThreadsAndAfterAnInterruption) {
  const TempDir dir;
  const Setting setting;
  const int threads = thread_count();
  set_thread_count(1);
  Journal one(dir.file("one"), "key");
  const auto expected = setting.measure(one);
  set_thread_count(4);
  Journal four(dir.file("four"), "key");
  EXPECT_EQ(setting.measure(four), expected);
  // As if it had stopped before the last two parts of the way back.
  std::filesystem::remove(dir.file("four/sensitivity.layers.0.safetensors"));
  std::filesystem::remove(dir.file("four/sensitivity.embedding.safetensors"));
  EXPECT_EQ(setting.measure(four), expected);
  set_thread_count(threads);
}

TEST(Allocate, TakesWhatTheBudgetAffordsAndSaysWhy) {
  const TempDir dir;
  const Setting setting;
  Journal journal(dir.file("work"), "key");
  const Allocation chosen = allocate(setting.plan, setting.measure(journal));
  EXPECT_FALSE(chosen.plan.is_open());
  EXPECT_LE(chosen.plan.weight_bytes, setting.plan.budget_bytes);
  EXPECT_EQ(chosen.plan.weight_bytes, chosen.report.bytes + 0);
  EXPECT_EQ(chosen.plan.site("layers.0.mlp.down_proj").treatment(), "keep F16");
  ASSERT_EQ(chosen.report.sites.size(), 13u);
  // Three times the gradient: v is worth more bits than k, which has its shape and its inputs.
  EXPECT_GE(chosen.plan.site("layers.1.attn.v_proj").bytes, chosen.plan.site("layers.1.attn.k_proj").bytes);
  for (const SiteChoice& site : chosen.report.sites) {
    EXPECT_EQ(site.chosen.bytes, chosen.plan.site(site.site).bytes);
    EXPECT_TRUE(site.smaller || site.larger);
  }
  ASSERT_EQ(chosen.report.uniform.size(), 3u);
  EXPECT_EQ(chosen.report.uniform[0].name, "int3-g32-sym");
  // Better than any single form that fits.
  for (const NamedSizePoint& uniform : chosen.report.uniform) {
    if (uniform.point.bytes > setting.plan.budget_bytes) continue;
    EXPECT_LE(chosen.report.kl, uniform.point.kl);
  }
}

}  // namespace
}  // namespace edgeq

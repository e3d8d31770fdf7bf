// SPDX-License-Identifier: Apache-2.0
// What a candidate is predicted to cost, against what it costs: a real decoder with one site changed.
#include "recipe/sensitivity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/torch/torch_model.h"
#include "recipe/compress_site.h"
#include "recipe/parse.h"
#include "tests/support/golden_logits.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

// Rows of logits -> log probabilities, in place.
void to_log_probabilities(Tensor& logits) {
  for (int64_t t = 0; t < logits.rows(); ++t) {
    float* row = logits.matrix().row(t);
    double sum = 0;
    const float top = *std::max_element(row, row + logits.cols());
    for (int64_t v = 0; v < logits.cols(); ++v) sum += std::exp(double(row[v] - top));
    for (int64_t v = 0; v < logits.cols(); ++v) row[v] -= float(double(top) + std::log(sum));
  }
}

class SensitivityOfADecoder : public testing::Test {
 protected:
  Windows some_windows() const {
    Windows windows{.length = 32, .tokens = {}};
    for (int i = 0; i < 32 * 8; ++i) windows.tokens.push_back(TokenId((i * 29 + i * i / 7) % 48));
    return windows;
  }
  // With `changed` in place of the site of its name.
  std::vector<Tensor> predictions(const Site* changed) const {
    std::vector<Tensor> all;
    Ends ends = walk_->ends();
    if (changed != nullptr && changed->name == "embedding") ends.embedding.weight = changed->weight;
    for (int64_t w = 0; w < windows_.count(); ++w) {
      State state = walk_->begin(windows_[w], ends);
      for (int b = 0; b < int(checkpoint_->config().layers.size()); ++b) {
        Block block = walk_->load(b);
        for (Site& site : block.sites)
          if (changed != nullptr && site.name == changed->name) site.weight = changed->weight;
        walk_->enter(block, state);
        for (int s = 0; s < int(block.stages.size()); ++s) walk_->step(block, s, state);
      }
      Tensor& logits = all.emplace_back(DType::f32, Shape{windows_.length, checkpoint_->config().vocab});
      backward_->through_head(ends, state.hidden, [&](MatrixView<float> values) {
        std::copy_n(values.data, logits.size(), logits.f32());
      });
      to_log_probabilities(logits);
    }
    return all;
  }
  double divergence(const Site& changed) const {
    const auto p = predictions(nullptr), q = predictions(&changed);
    double sum = 0;
    for (size_t w = 0; w < p.size(); ++w)
      for (int64_t i = 0; i < p[w].size(); ++i)
        sum += std::exp(double(p[w].f32()[i])) * (double(p[w].f32()[i]) - double(q[w].f32()[i]));
    return sum / double(windows_.tokens.size());
  }

  std::shared_ptr<const Checkpoint> checkpoint_ = open_checkpoint(read_golden("llama").folder);
  std::unique_ptr<BlockwiseModel> walk_ = open_torch_blockwise(checkpoint_);
  std::unique_ptr<BackwardModel> backward_ = open_torch_backward(checkpoint_->config());
  Windows windows_ = some_windows();
};

TEST_F(SensitivityOfADecoder, PredictsTheDivergenceThatEachSiteCauses) {
  const Recipe recipe = parse_recipe(
      "calibration: {corpus: text.txt}\n"
      "budget: {bits_per_weight: 8}\n"
      "rules: [{match: \"*\", quantizer: rtn, scheme: [int4-channel-sym, int8-channel-sym]}]\n",
      "r.yaml");
  const Plan plan = make_plan(recipe, *checkpoint_);
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const auto costs = measure_sensitivities(
      {.plan = plan, .model = *walk_, .backward = *backward_, .windows = windows_}, journal, {});
  // One prediction is drawn for each of 256 tokens, so a site's gradients are known to some 15 %; rows and
  // tokens are not quite independent. Measured: factors from 0.7 to 1.4.
  constexpr double kMostFactor = 1.7;
  double log_sum = 0;
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    Site site{.name = plan.sites[i].name, .weight = checkpoint_->load(plan.sites[i].name), .bias = {}};
    compress_site(plan.candidates[i][0], site, unit_stats(site.weight.cols(), kNeedMoments));
    const double factor = costs[i][0] / divergence(site);
    EXPECT_GT(factor, 1 / kMostFactor) << site.name << " predicted " << costs[i][0];
    EXPECT_LT(factor, kMostFactor) << site.name << " predicted " << costs[i][0];
    log_sum += std::log(factor);
  }
  EXPECT_LT(std::abs(log_sum / double(plan.sites.size())), 0.2) << "neither too high nor too low";
}

}  // namespace
}  // namespace edgeq

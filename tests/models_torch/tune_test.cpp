// SPDX-License-Identifier: Apache-2.0
// Tuning of a real decoder: it pays where codes are few, never makes worse what it was not trained on, and
// ends in the same bytes however often it was stopped.
#include "recipe/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "models/torch/torch_model.h"
#include "recipe/compress.h"
#include "recipe/factors.h"
#include "recipe/parse.h"
#include "tests/support/golden_logits.h"
#include "tests/support/temp_dir.h"

namespace edgeq {
namespace {

class Tune : public testing::Test {
 protected:
  static constexpr int kWindows = 12;

  Windows windows(int count) const {
    Windows windows{.length = 32, .tokens = {}};
    for (int i = 0; i < 32 * count; ++i) windows.tokens.push_back(TokenId((i * 29 + i * i / 7) % 48));
    return windows;
  }
  Plan plan(const std::string& options, int count = kWindows,
            const std::string& scheme = "int2-channel-sym") const {
    return make_plan(parse_recipe("calibration: {corpus: text.txt}\ntune: {windows: " +
                                      std::to_string(count) + ", " + options + "}" +
                                      "\nrules: [{match: \"*\", quantizer: rtn, scheme: " + scheme + "}]\n",
                                  "r.yaml"),
                     *checkpoint_);
  }
  TuneReport tuned(const Plan& plan, Journal& journal, const OnTuneStep& on_step = {}) const {
    const Windows text = windows(int(plan.tuning->windows));
    compress({.plan = plan, .model = *walk_, .windows = text}, journal, {});
    return tune({.plan = plan, .model = *walk_, .backward = *backward_, .windows = text}, journal, {},
                on_step);
  }
  static std::vector<QuantizedTensor> codes(const Journal& journal, bool shipped) {
    std::vector<QuantizedTensor> all;
    for (const std::string part : {"layers.0", "layers.1"})
      for (const SiteResult& site : journal.load(shipped ? shipped_part(journal, part) : part).sites)
        all.push_back(*site.quantized);
    return all;
  }

  std::shared_ptr<const Checkpoint> checkpoint_ = open_checkpoint(read_golden("llama").folder);
  std::unique_ptr<BlockwiseModel> walk_ = open_torch_blockwise(checkpoint_);
  std::unique_ptr<BackwardModel> backward_ = open_torch_backward(checkpoint_->config());
};

// Of the scales through a decoder block, by the chain that tune() uses.
TEST_F(Tune, GradientsOfScalesAndNormsAreThoseOfFiniteDifferences) {
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const Plan setting = plan("batch: 2", kWindows, "int4-channel-sym");
  const Tuning& tuning = *setting.tuning;
  compress({.plan = setting, .model = *walk_, .windows = windows(kWindows)}, journal, {});
  const PartResult part = journal.load("layers.1");
  const auto block_of = [&](const PartResult& from) {
    Block block = walk_->load(1);
    for (Site& site : block.sites) dequantize_into(*from.site(site.name).quantized, site.weight.matrix());
    block.others = from.vectors;
    return block;
  };
  const int64_t hidden = checkpoint_->config().hidden;
  Tensor x(DType::f32, {9, hidden}), pick(DType::f32, {9, hidden});
  for (int64_t i = 0; i < x.size(); ++i)
    x.f32()[i] = float(std::sin(1.7 * double(i))), pick.f32()[i] = float(std::sin(0.9 * double(i)));
  const BlockGradients got =
      backward_->through_block(block_of(part), x, pick, SiteGradients::weights, Products::f32);
  std::vector<float> gradient(size_t(factor_count(part, tuning)));
  factor_gradients(part, got.sites, got.others, tuning, gradient);
  const auto value = [&](double h) {
    std::vector<float> factors(gradient.size());
    for (size_t i = 0; i < factors.size(); ++i) factors[i] = float(h * std::sin(2.3 * double(i)));
    PartResult moved = part;
    move_by_factors(moved, factors, tuning, Stored::exact);
    const Block block = block_of(moved);
    State state{.hidden = x, .input = {}};
    walk_->enter(block, state);
    for (int s = 0; s < int(block.stages.size()); ++s) walk_->step(block, s, state);
    double sum = 0;
    for (int64_t i = 0; i < pick.size(); ++i) sum += double(state.hidden.f32()[i]) * double(pick.f32()[i]);
    return sum;
  };
  const double h = 5e-3, difference = (value(h) - value(-h)) / (2 * h);
  double slope = 0;
  for (size_t i = 0; i < gradient.size(); ++i) slope += double(gradient[i]) * std::sin(2.3 * double(i));
  EXPECT_NEAR(slope, difference, 1e-2 * std::abs(difference));
  EXPECT_GT(std::abs(1.05 * slope - difference), 1e-2 * std::abs(difference)) << "a 5 % error must show";
}

TEST_F(Tune, LowersTheDivergenceOnWindowsThatItNeverSaw) {
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const TuneReport report = tuned(plan("epochs: 3, rate: 0.01, patience: 9"), journal);
  ASSERT_GT(report.kept, 0);
  EXPECT_LT(report.heldout[size_t(report.kept)].kl, 0.95f * report.heldout.front().kl);
  EXPECT_EQ(report.heldout_windows, 1);
  EXPECT_NE(codes(journal, true), codes(journal, false));
}

// As if it were trained in the wrong direction: steps that are far too long.
TEST_F(Tune, KeepsWhatWasThereWhereNothingIsBetter) {
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const TuneReport report = tuned(
      plan("rate: 0.1, batch: 1, checks: 1, patience: 1, epochs: 3", kWindows, "int8-channel-sym"), journal);
  for (const HeldoutPoint& point : report.heldout)
    EXPECT_GE(point.kl, report.heldout[size_t(report.kept)].kl);
  ASSERT_EQ(report.kept, 0);
  EXPECT_EQ(codes(journal, true), codes(journal, false));
  EXPECT_THAT(report.stopped, testing::HasSubstr("no better"));
  EXPECT_THAT(tune_summary(report), testing::HasSubstr("nothing better"));
}

TEST_F(Tune, TrainsOnASingleWindow) {
  const TempDir dir;
  Journal journal(dir.file("work"), "key");
  const TuneReport report = tuned(plan("epochs: 4, rate: 0.003, batch: 5", 2), journal);
  EXPECT_EQ(report.windows, 1);
  EXPECT_LE(report.heldout[size_t(report.kept)].kl, report.heldout.front().kl);
  for (const float kl : report.train) EXPECT_TRUE(std::isfinite(kl));
}

TEST_F(Tune, EndsInTheSameBytesForAnyNumberOfThreadsAndAfterAnInterruption) {
  const TempDir dir;
  const Plan setting = plan("epochs: 2, rate: 0.01, patience: 9");
  const int threads = thread_count();
  set_thread_count(1);
  Journal one(dir.file("one"), "key"), four(dir.file("four"), "key"), stopped(dir.file("stopped"), "key");
  const TuneReport expected = tuned(setting, one);
  ASSERT_GT(expected.kept, 0);
  set_thread_count(4);
  tuned(setting, four);
  EXPECT_EQ(codes(four, true), codes(one, true));
  const OnTuneStep stop = [](const TuneProgress& at) {
    if (at.step == 7) request_interrupt();
  };
  EXPECT_THROW(tuned(setting, stopped, stop), Interrupted);
  clear_interrupt();
  EXPECT_EQ(codes(stopped, true), codes(stopped, false));
  int64_t first = 0;
  const TuneReport resumed = tuned(setting, stopped, [&](const TuneProgress& at) {
    if (first == 0) first = at.step;
  });
  EXPECT_EQ(first, 8);
  EXPECT_EQ(codes(stopped, true), codes(one, true));
  EXPECT_EQ(resumed.train, expected.train);
  EXPECT_EQ(resumed.kept, expected.kept);
  set_thread_count(threads);
}

}  // namespace
}  // namespace edgeq

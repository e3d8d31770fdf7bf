// SPDX-License-Identifier: Apache-2.0
// Activation-aware weight quantization (Lin et al., arXiv 2306.00978): a column that is scaled up before it
// is rounded, and its input down by as much, loses less, and its neighbours on the same grid lose more. For
// each input the search takes
//   s_j = rms(x_j)^a,   a = 0, 1/steps, ..., 1 - 1/steps
// and keeps the a whose rounding loses least at the outputs of all that read it: sum over the readers of
// tr(D H D^T) with D = round(W diag(s)) diag(1/s) - W, rounded to nearest on each reader's own grid. a = 0 is
// no change, so that the error never rises. (The paper has mean |x_j|, which the same power of the root mean
// square stands in for.)
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "quantizers/channel_scales.h"
#include "quantizers/methods.h"
#include "quantizers/output_error.h"
#include "quantizers/registry.h"

namespace edgeq {
namespace {

// What rounding a reader loses when its columns are scaled.
double loss(const Tensor& weight, const QuantScheme& scheme, const Fold& fold,
            const std::vector<float>& scales, const InputStats& stats) {
  const auto quantizer = make_quantizer("rtn", scheme, {});
  Tensor candidate = weight;
  const MatrixView<float> w = candidate.matrix();
  const auto scale_of = [&](int64_t c) { return scales[size_t(fold.channel_of_column[size_t(c)])]; };
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t c = 0; c < w.cols; ++c) w(r, c) *= scale_of(c);
  dequantize_into(quantizer->quantize(w, stats).weight, w);
  for (int64_t r = 0; r < w.rows; ++r)
    for (int64_t c = 0; c < w.cols; ++c) w(r, c) /= scale_of(c);
  return output_error(weight.matrix(), w, stats).squared;
}

class Awq final : public Transform {
 public:
  explicit Awq(int64_t steps) : steps_(steps) {}

  unsigned needs() const override { return kNeedHessian; }
  std::vector<std::string> leaves(const ModelConfig& config) const override { return unfoldable(config); }

  void apply(Block& block, const BlockFacts& facts) const override {
    require_finite_block(block);
    for (const Fold& fold : folds_of(facts.config, block))
      scale_channels(block, fold, best_scales(block, fold, facts));
  }

 private:
  std::vector<float> best_scales(const Block& block, const Fold& fold, const BlockFacts& facts) const {
    const InputStats& stats = facts.stats[size_t(fold.stage)];
    const std::vector<double> squares = input_squares(fold, stats);
    std::vector<float> best;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t step = 0; step < steps_; ++step) {
      std::vector<double> wishes = squares;
      for (double& wish : wishes) wish = wish > 0 ? std::pow(wish, 0.5 * double(step) / double(steps_)) : 0;
      std::vector<float> scales = channel_scales(wishes);
      double sum = 0;
      for (const int i : fold.readers)
        if (const auto& scheme = facts.schemes[size_t(i)])
          sum += loss(block.sites[size_t(i)].weight, *scheme, fold, scales, stats);
      if (!(sum < least)) continue;
      least = sum;
      best = std::move(scales);
    }
    if (best.empty())
      throw Error(fmt::format("what {} loses in rounding is beyond what a float holds",
                              block.sites[size_t(fold.readers[0])].name));
    return best;
  }

  int64_t steps_;
};

}  // namespace

std::unique_ptr<Transform> make_awq(const Options& options) {
  return std::make_unique<Awq>(options.integer("steps", 20, 1, 1000));
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// SmoothQuant (Xiao et al., arXiv 2211.10438): inputs have channels far above the others, which leave the
// rest few of the 255 steps of an 8-bit activation; weights have not. Channel j is divided by
//   s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)
// where it is made (models/folds.h) and multiplied where it is read. With alpha = 1/2 inputs and weights come
// out with the same maxima.
#include <cmath>

#include "quantizers/channel_scales.h"
#include "quantizers/methods.h"

namespace edgeq {
namespace {

class Smooth final : public Transform {
 public:
  explicit Smooth(double alpha) : alpha_(alpha) {}

  unsigned needs() const override { return kNeedMoments; }
  std::vector<std::string> leaves(const ModelConfig& config) const override { return unfoldable(config); }

  void apply(Block& block, const BlockFacts& facts) const override {
    require_finite_block(block);
    for (const Fold& fold : folds_of(facts.config, block)) {
      const std::vector<double> inputs = input_maxima(fold, facts.stats[size_t(fold.stage)]);
      std::vector<double> wishes = weight_maxima(fold, block);
      for (size_t c = 0; c < wishes.size(); ++c) {
        const bool dead = inputs[c] == 0 || wishes[c] == 0;
        wishes[c] = dead ? 0 : std::pow(inputs[c], alpha_) / std::pow(wishes[c], 1 - alpha_);
      }
      scale_channels(block, fold, channel_scales(wishes));
    }
  }

 private:
  double alpha_;
};

}  // namespace

std::unique_ptr<Transform> make_smooth(const Options& options) {
  return std::make_unique<Smooth>(options.number("alpha", 0.5, 0, 1));
}

}  // namespace edgeq

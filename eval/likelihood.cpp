// SPDX-License-Identifier: Apache-2.0
#include "eval/likelihood.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace edgeq {

double negative_log_likelihood(std::span<const float> logits, TokenId next) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return std::log(sum) - (double(logits[size_t(next)]) - top);
}

double divergence_gradient(std::span<const float> reference, std::span<float> model) {
  const float reference_top = *std::max_element(reference.begin(), reference.end());
  const float top = *std::max_element(model.begin(), model.end());
  std::vector<float> p(model.size());
  double reference_sum = 0, sum = 0, weighted = 0;
  for (size_t i = 0; i < model.size(); ++i) {
    const float r = reference[i] - reference_top, m = model[i] - top;
    p[i] = std::exp(r);
    model[i] = std::exp(m);
    reference_sum += double(p[i]);
    sum += double(model[i]);
    weighted += double(p[i]) * (double(r) - double(m));
  }
  for (size_t i = 0; i < model.size(); ++i)
    model[i] = float(double(model[i]) / sum - double(p[i]) / reference_sum);
  const double kl = weighted / reference_sum - std::log(reference_sum) + std::log(sum);
  return kl < 0 ? 0 : kl;  // by rounding, where both are the same; what is no number stays none
}

}  // namespace edgeq

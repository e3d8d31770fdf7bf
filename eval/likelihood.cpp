// SPDX-License-Identifier: Apache-2.0
#include "eval/likelihood.h"

#include <algorithm>
#include <cmath>

namespace edgeq {

double negative_log_likelihood(std::span<const float> logits, TokenId next) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return std::log(sum) - (double(logits[size_t(next)]) - top);
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/random.h"
#include "models/blockwise_model.h"

namespace edgeq {

struct SamplerOptions {
  double temperature = 0;  // 0: greedy, the highest logit, lowest id on a tie
  int64_t top_k = 0;       // 0: off
  double top_p = 1;        // nucleus: smallest set of probability at least top_p
  double min_p = 0;        // drops tokens below min_p times the best probability
  uint64_t seed = 0;
};

// The highest logit, the lowest id on a tie.
TokenId best_token(std::span<const float> logits);

// Applied in the order temperature, top-k, top-p, min-p. Deterministic for a seed.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);  // Error for a value out of range
  TokenId next(std::span<const float> logits);

 private:
  SamplerOptions options_;
  Random random_;
};

}  // namespace edgeq

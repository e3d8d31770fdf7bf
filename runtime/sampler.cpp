// SPDX-License-Identifier: Apache-2.0
#include "runtime/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace edgeq {

TokenId best_token(std::span<const float> logits) {
  return TokenId(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

namespace {

struct Candidate {
  TokenId token;
  double weight;  // probability up to a common factor; the best has 1
};

void check_range(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw Error(fmt::format("{} is {}, expected {} to {}", name, value, low, high));
}

// All tokens with their weights, best first; equal logits in the order of their ids.
std::vector<Candidate> rank(std::span<const float> logits, double temperature, int64_t keep) {
  const double best = logits[size_t(best_token(logits))];
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    candidates[i] = {TokenId(i), std::exp((double(logits[i]) - best) / temperature)};
  const auto better = [&](const Candidate& a, const Candidate& b) {
    const float x = logits[size_t(a.token)], y = logits[size_t(b.token)];
    return x != y ? x > y : a.token < b.token;
  };
  const auto end = candidates.begin() + std::min(keep, int64_t(candidates.size()));
  std::partial_sort(candidates.begin(), end, candidates.end(), better);
  candidates.erase(end, candidates.end());
  return candidates;
}

double total_weight(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.weight;
  return sum;
}

// How many of the best reach the share `top_p` of the total.
size_t nucleus_size(const std::vector<Candidate>& candidates, double top_p) {
  const double enough = top_p * total_weight(candidates);
  double sum = 0;
  for (size_t i = 0; i < candidates.size(); ++i)
    if ((sum += candidates[i].weight) >= enough) return i + 1;
  return candidates.size();
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  check_range("temperature", options.temperature, 0, 100);
  check_range("top-k", double(options.top_k), 0, 0x1p31);
  check_range("top-p", options.top_p, 0x1p-20, 1);
  check_range("min-p", options.min_p, 0, 1);
}

TokenId Sampler::next(std::span<const float> logits) {
  EDGEQ_CHECK(!logits.empty(), "a sampler chooses among at least one token");
  if (options_.temperature == 0) return best_token(logits);
  const int64_t keep = options_.top_k > 0 ? options_.top_k : int64_t(logits.size());
  std::vector<Candidate> candidates = rank(logits, options_.temperature, keep);
  if (options_.top_p < 1) candidates.resize(nucleus_size(candidates, options_.top_p));
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < options_.min_p; });

  double left = random_.uniform() * total_weight(candidates);
  for (const Candidate& c : candidates)
    if ((left -= c.weight) < 0) return c.token;
  return candidates.back().token;  // rounding ate the last crumb
}

}  // namespace edgeq

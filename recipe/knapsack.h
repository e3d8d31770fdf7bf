// SPDX-License-Identifier: Apache-2.0
// Which candidate each site takes so that all of them together fit into a number of bytes and lose least: the
// multiple-choice knapsack problem (Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004, chapter 11),
// solved exactly.
//   minimize sum_i loss[i][x_i]   subject to   sum_i bytes[i][x_i] <= budget
// A price per byte turns it into sites that choose alone; going through all prices walks along the convex
// hull of (bytes, loss) over all choices. Between two corners of the hull the best choice is found by
// enumerating partial choices in order of bytes, dropping those that another beats in both respects and those
// that cannot reach the best known choice even at the budget's price.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace edgeq {

struct KnapsackOption {
  int64_t bytes = 0;
  double loss = 0;
};
using KnapsackSite = std::vector<KnapsackOption>;  // at least one option; in any order

// One choice for all sites.
struct KnapsackChoice {
  std::vector<int> picks;  // index into each site's options
  int64_t bytes = 0;
  double loss = 0;
};

// The choice of least loss within the budget and, among equals, of least bytes; deterministic. nullopt when
// even the smallest options do not fit. Losses are finite.
std::optional<KnapsackChoice> solve_knapsack(std::span<const KnapsackSite> sites, int64_t budget);

// The corners of the lower convex hull of (bytes, loss) over all choices, from the smallest to the one of
// least loss: bytes ascend, losses fall, and what a byte saves falls too.
std::vector<KnapsackOption> knapsack_hull(std::span<const KnapsackSite> sites);

}  // namespace edgeq

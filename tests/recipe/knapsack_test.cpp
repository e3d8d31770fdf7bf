// SPDX-License-Identifier: Apache-2.0
#include "recipe/knapsack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"

namespace edgeq {
namespace {

// Losses are multiples of 1/64, so that sums are exact in any order.
std::vector<KnapsackSite> random_sites(Random& random, int64_t most_bytes) {
  std::vector<KnapsackSite> sites(2 + random.below(5));
  for (KnapsackSite& site : sites) {
    site.resize(1 + random.below(4));
    for (KnapsackOption& option : site)
      option = {int64_t(1 + random.below(uint64_t(most_bytes))), double(random.below(200)) / 64};
  }
  return sites;
}

// Every choice there is. The least loss within the budget and, among equals, the fewest bytes.
std::optional<KnapsackOption> by_trying_all(const std::vector<KnapsackSite>& sites, int64_t budget) {
  std::optional<KnapsackOption> best;
  std::vector<size_t> picks(sites.size(), 0);
  for (;;) {
    KnapsackOption sum;
    for (size_t s = 0; s < sites.size(); ++s) {
      sum.bytes += sites[s][picks[s]].bytes;
      sum.loss += sites[s][picks[s]].loss;
    }
    const auto beats = [&] {
      return !best || sum.loss < best->loss || (sum.loss == best->loss && sum.bytes < best->bytes);
    };
    if (sum.bytes <= budget && beats()) best = sum;
    size_t s = 0;
    while (s < sites.size() && ++picks[s] == sites[s].size()) picks[s++] = 0;
    if (s == sites.size()) return best;
  }
}

TEST(Knapsack, IsExactOnEveryBudgetOfRandomInstances) {
  Random random(1);
  int refused = 0, off_the_hull = 0;
  for (int instance = 0; instance < 300; ++instance) {
    // Few different sizes make equal totals, many make none.
    const std::vector<KnapsackSite> sites = random_sites(random, instance % 2 == 0 ? 6 : 1000);
    int64_t most = 0;
    for (const KnapsackSite& site : sites) most += std::ranges::max(site, {}, &KnapsackOption::bytes).bytes;
    const std::vector<KnapsackOption> hull = knapsack_hull(sites);
    for (int trial = 0; trial < 12; ++trial) {
      const auto budget = int64_t(random.below(uint64_t(most + 2)));
      const auto expected = by_trying_all(sites, budget);
      const auto got = solve_knapsack(sites, budget);
      ASSERT_EQ(got.has_value(), expected.has_value());
      refused += !expected;
      if (!expected) continue;
      EXPECT_EQ(got->loss, expected->loss) << "instance " << instance << ", budget " << budget;
      EXPECT_EQ(got->bytes, expected->bytes) << "instance " << instance << ", budget " << budget;
      int64_t bytes = 0;
      for (size_t s = 0; s < sites.size(); ++s) bytes += sites[s][size_t(got->picks[s])].bytes;
      EXPECT_EQ(got->bytes, bytes);
      off_the_hull += std::ranges::none_of(
          hull, [&](const KnapsackOption& corner) { return corner.bytes == expected->bytes; });
    }
  }
  // The instances are of every kind: some have no solution, in many the greedy walk is not the best.
  EXPECT_GT(refused, 50);
  EXPECT_GT(off_the_hull, 100);
}

TEST(Knapsack, CornersOfTheHullAreTheBestChoicesOfTheirSize) {
  Random random(2);
  for (int instance = 0; instance < 50; ++instance) {
    const std::vector<KnapsackSite> sites = random_sites(random, 50);
    const std::vector<KnapsackOption> hull = knapsack_hull(sites);
    double slope = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < hull.size(); ++i) {
      EXPECT_EQ(solve_knapsack(sites, hull[i].bytes)->loss, hull[i].loss);
      if (i == 0) continue;
      const double here = (hull[i - 1].loss - hull[i].loss) / double(hull[i].bytes - hull[i - 1].bytes);
      EXPECT_GT(here, 0);
      EXPECT_LE(here, slope);
      slope = here;
    }
  }
}

// As many sites as a model has, with as many candidates: exact, and at once.
TEST(Knapsack, AWholeModelIsAMatterOfMilliseconds) {
  Random random(3);
  std::vector<KnapsackSite> sites(400, KnapsackSite(7));
  int64_t least = 0, most = 0;
  for (KnapsackSite& site : sites) {
    const auto weights = int64_t(100000 + random.below(900000));
    const double sensitivity = random.uniform() * random.uniform();
    for (int bits = 2; bits < 9; ++bits)
      site[size_t(bits - 2)] = {weights * bits / 8 + int64_t(random.below(500)),
                                sensitivity * std::pow(4.0, -bits) * (0.8 + 0.4 * random.uniform())};
    least += site.front().bytes;
    most += site.back().bytes;
  }
  const int64_t budget = (2 * least + most) / 3;
  const auto choice = solve_knapsack(sites, budget);
  ASSERT_TRUE(choice.has_value());
  EXPECT_LE(choice->bytes, budget);
  // No choice is better than the line between the corners of the hull beside the budget.
  const auto hull = knapsack_hull(sites);
  const auto above =
      std::ranges::find_if(hull, [&](const KnapsackOption& corner) { return corner.bytes > budget; });
  ASSERT_NE(above, hull.end());
  const double part = double(budget - above[-1].bytes) / double(above->bytes - above[-1].bytes);
  const double bound = above[-1].loss + part * (above->loss - above[-1].loss);
  EXPECT_GE(choice->loss, bound * (1 - 1e-12));
  EXPECT_LE(choice->loss, bound * 1.001);
}

}  // namespace
}  // namespace edgeq

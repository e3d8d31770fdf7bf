// SPDX-License-Identifier: Apache-2.0
#include "recipe/knapsack.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "core/error.h"

namespace edgeq {
namespace {

// From one corner of a site's hull to the next.
struct Step {
  int site = 0, to = 0;  // index of an option
  int64_t bytes = 0;     // more
  double spared = 0;     // less loss
  double per_byte() const { return spared / double(bytes); }
};

struct Start {
  std::vector<int> picks;   // the smallest option of each site
  std::vector<Step> steps;  // of all sites, what spares most per byte first
};

// Options of one site by bytes, those left out that another beats in both respects.
std::vector<int> efficient_options(const KnapsackSite& site) {
  std::vector<int> order(site.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = int(i);
  std::ranges::stable_sort(order, [&](int a, int b) {
    const KnapsackOption &x = site[size_t(a)], &y = site[size_t(b)];
    return x.bytes != y.bytes ? x.bytes < y.bytes : x.loss < y.loss;
  });
  std::vector<int> kept;
  for (const int i : order)
    if (kept.empty() || site[size_t(i)].loss < site[size_t(kept.back())].loss) kept.push_back(i);
  return kept;
}

Step step_between(const KnapsackSite& options, int site, int from, int to) {
  return {.site = site,
          .to = to,
          .bytes = options[size_t(to)].bytes - options[size_t(from)].bytes,
          .spared = options[size_t(from)].loss - options[size_t(to)].loss};
}

// Corners of one site's lower hull, as steps that spare less and less per byte.
std::vector<Step> hull_steps(const KnapsackSite& options, int site, const std::vector<int>& efficient) {
  std::vector<int> corners;
  std::vector<Step> steps;
  for (const int i : efficient) {
    while (!steps.empty() &&
           steps.back().per_byte() <= step_between(options, site, corners.back(), i).per_byte()) {
      steps.pop_back();
      corners.pop_back();
    }
    if (!corners.empty()) steps.push_back(step_between(options, site, corners.back(), i));
    corners.push_back(i);
  }
  return steps;
}

Start start_of(std::span<const KnapsackSite> sites) {
  Start start;
  for (size_t s = 0; s < sites.size(); ++s) {
    EDGEQ_CHECK(!sites[s].empty(), "a site has an option");
    const std::vector<int> efficient = efficient_options(sites[s]);
    start.picks.push_back(efficient.front());
    const auto steps = hull_steps(sites[s], int(s), efficient);
    start.steps.insert(start.steps.end(), steps.begin(), steps.end());
  }
  std::ranges::stable_sort(start.steps,
                           [](const Step& a, const Step& b) { return a.per_byte() > b.per_byte(); });
  return start;
}

KnapsackChoice total(std::span<const KnapsackSite> sites, std::vector<int> picks) {
  KnapsackChoice choice{.picks = std::move(picks)};
  for (size_t s = 0; s < sites.size(); ++s) {
    choice.bytes += sites[s][size_t(choice.picks[s])].bytes;
    choice.loss += sites[s][size_t(choice.picks[s])].loss;
  }
  return choice;
}

// What a partial choice of the first sites has come to, and the choice it came from.
struct Partial {
  int64_t bytes = 0;
  double loss = 0;
  int parent = -1, pick = 0;
};

// Partial choices of one more site: by bytes, each of less loss than all before it.
std::vector<Partial> extend(const std::vector<Partial>& partials, const KnapsackSite& options,
                            const std::vector<int>& efficient, int64_t room) {
  std::vector<Partial> all;
  all.reserve(partials.size() * efficient.size());
  for (size_t p = 0; p < partials.size(); ++p)
    for (const int o : efficient) {
      const KnapsackOption& option = options[size_t(o)];
      if (partials[p].bytes + option.bytes > room) break;
      all.push_back({partials[p].bytes + option.bytes, partials[p].loss + option.loss, int(p), o});
    }
  std::ranges::stable_sort(all, [](const Partial& a, const Partial& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
  });
  std::vector<Partial> kept;
  for (const Partial& partial : all)
    if (kept.empty() || partial.loss < kept.back().loss) kept.push_back(partial);
  return kept;
}

// Of the sites behind the first n: the fewest bytes that they can take, and the least of loss + price *
// bytes.
struct Rest {
  int64_t bytes = 0;
  double cost = 0;
};

std::vector<Rest> rests(std::span<const KnapsackSite> sites, double price) {
  std::vector<Rest> rest(sites.size() + 1);
  for (size_t s = sites.size(); s-- > 0;) {
    int64_t bytes = std::numeric_limits<int64_t>::max();
    double cost = std::numeric_limits<double>::infinity();
    for (const KnapsackOption& option : sites[s]) {
      bytes = std::min(bytes, option.bytes);
      cost = std::min(cost, option.loss + price * double(option.bytes));
    }
    rest[s] = {rest[s + 1].bytes + bytes, rest[s + 1].cost + cost};
  }
  return rest;
}

// The best choice within the budget; `known` is one that fits, and the price prunes what cannot beat it.
KnapsackChoice enumerate(std::span<const KnapsackSite> sites, int64_t budget, double price,
                         const KnapsackChoice& known) {
  const std::vector<Rest> rest = rests(sites, price);
  // Rounding of sums must not drop the known choice itself.
  const double limit = known.loss + price * double(budget);
  const double slack = 1e-9 * std::abs(limit);
  std::vector<std::vector<Partial>> levels{{Partial{}}};
  for (size_t s = 0; s < sites.size(); ++s) {
    std::vector<Partial> next =
        extend(levels.back(), sites[s], efficient_options(sites[s]), budget - rest[s + 1].bytes);
    std::erase_if(next, [&](const Partial& p) {
      return p.loss + price * double(p.bytes) + rest[s + 1].cost > limit + slack;
    });
    levels.push_back(std::move(next));
  }
  if (levels.back().empty()) return known;
  std::vector<int> picks(sites.size());
  int at = int(levels.back().size()) - 1;  // the largest loses least
  for (size_t s = sites.size(); s-- > 0;) {
    const Partial& partial = levels[s + 1][size_t(at)];
    picks[s] = partial.pick;
    at = partial.parent;
  }
  return total(sites, std::move(picks));
}

}  // namespace

std::optional<KnapsackChoice> solve_knapsack(std::span<const KnapsackSite> sites, int64_t budget) {
  const Start start = start_of(sites);
  KnapsackChoice known = total(sites, start.picks);
  if (known.bytes > budget) return std::nullopt;
  // Along the hull while it fits; the first step that does not has the budget's price. Steps behind it that
  // still fit make the known choice better.
  double price = 0;
  std::vector<bool> closed(sites.size(), false);
  for (const Step& step : start.steps) {
    const auto site = size_t(step.site);
    if (closed[site]) continue;
    if (known.bytes + step.bytes > budget) {
      if (price == 0) price = step.per_byte();
      closed[site] = true;
      continue;
    }
    known.picks[site] = step.to;
    known.bytes += step.bytes;
    known.loss -= step.spared;
  }
  known = total(sites, std::move(known.picks));
  if (price == 0) return known;  // everything fits
  return enumerate(sites, budget, price, known);
}

std::vector<KnapsackOption> knapsack_hull(std::span<const KnapsackSite> sites) {
  const Start start = start_of(sites);
  const KnapsackChoice smallest = total(sites, start.picks);
  std::vector<KnapsackOption> hull{{smallest.bytes, smallest.loss}};
  for (const Step& step : start.steps)
    hull.push_back({hull.back().bytes + step.bytes, hull.back().loss - step.spared});
  return hull;
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "recipe/allocate.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "recipe/knapsack.h"

namespace edgeq {
namespace {

std::string form_of(const SitePlan& site) {
  return site.keep ? std::string(dtype_name(*site.keep)) : scheme_text(site.scheme);
}

std::vector<KnapsackSite> knapsack_of(const Plan& plan, const std::vector<std::vector<double>>& costs) {
  std::vector<KnapsackSite> sites;
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    KnapsackSite& options = sites.emplace_back();
    for (size_t c = 0; c < plan.candidates[i].size(); ++c)
      options.push_back({plan.candidates[i][c].bytes, costs[i].empty() ? 0.0 : costs[i][c]});
  }
  return sites;
}

// Where every site that is not decided takes the same form, for each form that all of them may take.
std::vector<NamedSizePoint> uniform_points(const Plan& plan, const std::vector<KnapsackSite>& sites) {
  std::vector<NamedSizePoint> points;
  const auto open = std::ranges::find_if(plan.candidates, [](const auto& c) { return c.size() > 1; });
  for (const SitePlan& like : *open) {
    NamedSizePoint point{.name = form_of(like), .point = {}};
    bool all = true;
    for (size_t i = 0; i < sites.size() && all; ++i) {
      size_t taken = 0;
      if (sites[i].size() > 1) {
        const auto& candidates = plan.candidates[i];
        const auto same = std::ranges::find(candidates, point.name, form_of);
        all = same != candidates.end();
        taken = size_t(same - candidates.begin());
      }
      if (!all) break;
      point.point.bytes += sites[i][taken].bytes;
      point.point.kl += sites[i][taken].loss;
    }
    if (all) points.push_back(std::move(point));
  }
  return points;
}

SiteChoice site_choice(const std::vector<SitePlan>& candidates, const KnapsackSite& options, size_t pick) {
  const auto form = [&](size_t c) {
    return ChoiceForm{.scheme = form_of(candidates[c]), .bytes = options[c].bytes, .kl = options[c].loss};
  };
  SiteChoice choice{.site = candidates[pick].name, .chosen = form(pick), .smaller = {}, .larger = {}};
  if (pick > 0) choice.smaller = form(pick - 1);
  if (pick + 1 < candidates.size()) choice.larger = form(pick + 1);
  return choice;
}

}  // namespace

Allocation allocate(const Plan& plan, const std::vector<std::vector<double>>& costs) {
  const std::vector<KnapsackSite> sites = knapsack_of(plan, costs);
  const auto choice = solve_knapsack(sites, plan.budget_bytes);
  EDGEQ_CHECK(choice.has_value(), "a plan's budget holds the smallest candidates");
  BudgetReport report{.budget = budget_text(*plan.recipe.budget),
                      .budget_bytes = plan.budget_bytes,
                      .bytes = choice->bytes,
                      .kl = choice->loss};
  for (const KnapsackOption& corner : knapsack_hull(sites))
    report.curve.push_back({corner.bytes, corner.loss});
  report.uniform = uniform_points(plan, sites);
  for (size_t i = 0; i < sites.size(); ++i)
    if (sites[i].size() > 1)
      report.sites.push_back(site_choice(plan.candidates[i], sites[i], size_t(choice->picks[i])));
  return {.plan = choose(plan, choice->picks), .report = std::move(report)};
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// The choice that a budget makes among the candidates of all sites, and what there is to say about it.
#pragma once

#include <vector>

#include "eval/budget_report.h"
#include "recipe/plan.h"

namespace edgeq {

struct Allocation {
  Plan plan;  // every site decided
  BudgetReport report;
};

// costs[i][c]: what candidate c of site i costs, in KL (recipe/sensitivity.h); empty where a rule decides.
// The choice of least total cost within plan.budget_bytes (recipe/knapsack.h).
Allocation allocate(const Plan& plan, const std::vector<std::vector<double>>& costs);

}  // namespace edgeq

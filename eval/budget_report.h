// SPDX-License-Identifier: Apache-2.0
// What a budget chose among the candidates of all sites, and why. KL is predicted: the mean divergence from
// the float model in nats per token, to second order in the change of each weight, added up over sites.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace edgeq {

// Bytes are those of all weights in the target's file.
struct SizePoint {
  int64_t bytes = 0;
  double kl = 0;
};
struct NamedSizePoint {
  std::string name;
  SizePoint point;
};

// One candidate of one site.
struct ChoiceForm {
  std::string scheme;  // or a float type
  int64_t bytes = 0;
  double kl = 0;
};
struct SiteChoice {
  std::string site;
  ChoiceForm chosen;
  std::optional<ChoiceForm> smaller, larger;  // the next candidates by bytes
};

struct BudgetReport {
  std::string budget;                        // as it was asked for: "80.0 MB"
  int64_t budget_bytes = 0, bytes = 0;       // for the weights; taken by them
  double kl = 0;                             // of the choice
  std::vector<SizePoint> curve = {};         // the best choice at every size: corners, smallest first
  std::vector<NamedSizePoint> uniform = {};  // where all sites take one form
  std::vector<SiteChoice> sites = {};        // those that were open
};

// KL that a byte more would save at the budget: between the corners of the curve beside it; 0 at its end.
double budget_price(const BudgetReport& report);
// A line for each form: how many sites took it and their bytes.
std::string budget_summary(const BudgetReport& report);
// Why each site has its form: a header row, then the sites; what the next smaller and the next larger
// candidate would change, and what they give for a MB, to be held against budget_price().
std::vector<std::vector<std::string>> budget_cells(const BudgetReport& report);

}  // namespace edgeq

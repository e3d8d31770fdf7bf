// SPDX-License-Identifier: Apache-2.0
#include "eval/budget_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/text.h"

namespace edgeq {

double budget_price(const BudgetReport& report) {
  const auto above = std::ranges::find_if(
      report.curve, [&](const SizePoint& corner) { return corner.bytes > report.budget_bytes; });
  if (above == report.curve.end() || above == report.curve.begin()) return 0;
  return (above[-1].kl - above->kl) / double(above->bytes - above[-1].bytes);
}

std::string budget_summary(const BudgetReport& report) {
  struct Share {
    int64_t sites = 0, bytes = 0;
  };
  std::map<std::string, Share> forms;
  for (const SiteChoice& site : report.sites) {
    Share& share = forms[site.chosen.scheme];
    share.sites += 1;
    share.bytes += site.chosen.bytes;
  }
  std::string text =
      fmt::format("budget {}: {} of weights, predicted KL {:.4f}; a MB more would save {:.2g}\n",
                  report.budget, bytes_text(report.bytes), report.kl, 1e6 * budget_price(report));
  for (const auto& [form, share] : forms)
    text += fmt::format("  {:<14} {:>4} sites {:>9}\n", form, share.sites, bytes_text(share.bytes));
  return text;
}

std::vector<std::vector<std::string>> budget_cells(const BudgetReport& report) {
  std::vector<std::vector<std::string>> cells{
      {"site", "takes", "bytes", "predicted KL", "next smaller", "KL", "next larger", "KL"}};
  // Differences per MB, to be held against the price of the budget.
  const auto step = [](const std::optional<ChoiceForm>& other, const ChoiceForm& chosen) {
    if (!other) return std::pair<std::string, std::string>("-", "-");
    const double megabytes = 1e-6 * double(other->bytes - chosen.bytes);
    const double kl = other->kl - chosen.kl;
    return std::pair<std::string, std::string>(
        fmt::format("{} ({:+.3f} MB)", other->scheme, megabytes),
        fmt::format("{:+.2g} ({:.2g} a MB)", kl, megabytes == 0 ? 0.0 : -kl / megabytes));
  };
  for (const SiteChoice& site : report.sites) {
    const auto [smaller, adds] = step(site.smaller, site.chosen);
    const auto [larger, spares] = step(site.larger, site.chosen);
    cells.push_back({site.site, site.chosen.scheme, bytes_text(site.chosen.bytes),
                     fmt::format("{:.2g}", site.chosen.kl), smaller, adds, larger, spares});
  }
  return cells;
}

}  // namespace edgeq

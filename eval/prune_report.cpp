// SPDX-License-Identifier: Apache-2.0
#include "eval/prune_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "eval/charts.h"

namespace edgeq {
namespace {

constexpr double kWidth = 640, kLabel = 84, kCell = 22;

// One square of the map: darker is worth more, a cross says that it went.
std::string cell(double x, double y, double width, double share, const ScoredUnit& unit,
                 const std::string& title) {
  std::string svg = fmt::format(
      "<g><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"var(--series-1)\" "
      "fill-opacity=\"{:.2f}\"/>",
      x, y, width - 2, kCell - 2, 0.06 + 0.94 * share);
  if (!unit.stays)
    svg += fmt::format(
        "<path d=\"M{0:.1f} {1:.1f}L{2:.1f} {3:.1f}M{2:.1f} {1:.1f}L{0:.1f} {3:.1f}\" stroke=\"var(--heat)\" "
        "stroke-width=\"2\"/>",
        x + 3, y + 3, x + width - 5, y + kCell - 5);
  return svg +
         fmt::format("<title>{}: {:.3g}, {}</title></g>\n", title, unit.score, unit.stays ? "stays" : "cut");
}

std::string label(double x, double y, std::string_view anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, text);
}

double largest(const std::vector<ScoredUnit>& units) {
  double most = 0;
  for (const ScoredUnit& unit : units)
    if (std::isfinite(unit.score)) most = std::max(most, unit.score);
  return most > 0 ? most : 1;
}

double share_of(const ScoredUnit& unit, double most) {
  return std::isfinite(unit.score) ? std::clamp(unit.score / most, 0.0, 1.0) : 0;
}

std::string part(std::string_view what, int64_t before, int64_t after) {
  return before == after ? "" : fmt::format(", {} {} of {}", what, after, before);
}

}  // namespace

std::string prune_summary(const PruneReport& r) {
  return fmt::format(
      "weights {:.1f} M of {:.1f} M (-{:.1f} %){}{}{}{}{}; {}", 1e-6 * double(r.weights_after),
      1e-6 * double(r.weights_before), 100 * (1 - double(r.weights_after) / double(r.weights_before)),
      part("tokens", r.tokens_before, r.tokens_after),
      part(r.per_layer ? "heads of all layers" : "heads", r.heads_before, r.heads_after),
      part("KV heads", r.kv_heads_before, r.kv_heads_after),
      part("channels", r.channels_before, r.channels_after), part("blocks", r.blocks_before, r.blocks_after),
      r.compensated ? "what is left makes up for what is gone" : "cut only");
}

std::string zeros_summary(const PruneReport& report) {
  if (report.zeros.empty()) return {};
  std::vector<std::pair<std::string, std::vector<double>>> parts;  // of all layers, in the order of a layer
  for (const ZerosOfSite& site : report.zeros) {
    const std::string part = site.name.substr(site.name.rfind('.') + 1);
    const auto found = std::ranges::find(parts, part, [](const auto& p) { return p.first; });
    (found == parts.end() ? parts.emplace_back(part, std::vector<double>()) : *found)
        .second.push_back(site.share);
  }
  std::string text = fmt::format("zeros, {}", report.mask);
  for (size_t p = 0; p < parts.size(); ++p) {
    const std::vector<double>& shares = parts[p].second;
    text += fmt::format("{}{} {:.1f} %", p == 0 ? ": " : ", ", parts[p].first,
                        100 * std::accumulate(shares.begin(), shares.end(), 0.0) / double(shares.size()));
  }
  const ZerosOfSite& least = *std::ranges::min_element(report.zeros, {}, &ZerosOfSite::share);
  return text + fmt::format("; least {:.1f} % in {}", 100 * least.share, least.name);
}

std::string score_map(const PruneReport& report) {
  const size_t head_rows = report.heads.empty() ? 0 : report.heads[0].size();
  const size_t columns = std::max(report.heads.size(), report.blocks.size());
  if (columns == 0) return {};
  const double width = std::min(44.0, (kWidth - kLabel) / double(columns));
  const double map_height = double(head_rows) * kCell,
               blocks_top = map_height + (head_rows == 0 ? 0.0 : 30.0);
  const double height = blocks_top + (report.blocks.empty() ? 0.0 : kCell + 26);
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Scores of heads by layer\">\n", kWidth,
      std::max(height, kCell));
  const size_t step = columns > 16 ? 5 : 1;
  for (size_t h = 0; h < head_rows; ++h)
    svg += label(kLabel - 8, double(h) * kCell + 15, "end", fmt::format("head {}", h));
  for (size_t l = 0; l < report.heads.size(); ++l) {
    const double most = largest(report.heads[l]);
    for (size_t h = 0; h < head_rows; ++h) {
      const ScoredUnit& unit = report.heads[l][h];
      svg += cell(kLabel + double(l) * width, double(h) * kCell, width, share_of(unit, most), unit,
                  fmt::format("layer {}, head {}", report.layers[l], h));
    }
    if (l % step == 0)
      svg += label(kLabel + (double(l) + 0.5) * width, map_height + 14, "middle",
                   std::to_string(report.layers[l]));
  }
  if (!report.blocks.empty()) svg += label(kLabel - 8, blocks_top + 15, "end", "blocks");
  const double most = largest(report.blocks);
  for (size_t b = 0; b < report.blocks.size(); ++b) {
    svg += cell(kLabel + double(b) * width, blocks_top, width, share_of(report.blocks[b], most),
                report.blocks[b], fmt::format("block {}", b));
    if (b % step == 0)
      svg += label(kLabel + (double(b) + 0.5) * width, blocks_top + kCell + 14, "middle", std::to_string(b));
  }
  return svg + "</svg>\n";
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "eval/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "core/text.h"

namespace edgeq {
namespace {

constexpr double kWidth = 640, kHeight = 300;
constexpr double kLeft = 64, kRight = 28, kTop = 16, kBottom = 44;

// A linear or logarithmic map from values to pixels.
struct Scale {
  double low, high, from, to;
  bool logarithmic = false;
  double operator()(double v) const {
    const double t = logarithmic ? std::log(v / low) / std::log(high / low) : (v - low) / (high - low);
    return from + t * (to - from);
  }
};

// About `count` round values covering [low, high].
std::vector<double> round_ticks(double low, double high, int count) {
  const double raw = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
  std::vector<double> ticks;
  for (double v = std::ceil(low / step) * step; v <= high + step * 1e-9; v += step) ticks.push_back(v);
  return ticks;
}

std::string open_svg(double width, double height, std::string_view label) {
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">\n", width, height,
                     escape_html(label));
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escape_html(text));
}

std::string axes(const Scale& x, const Scale& y, const std::vector<std::pair<double, std::string>>& x_ticks,
                 const std::vector<std::pair<double, std::string>>& y_ticks, std::string_view x_title) {
  std::string svg;
  for (const auto& [v, label] : y_ticks) {
    svg += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       kLeft, kWidth - kRight, y(v), y(v));
    svg += text_at(kLeft - 8, y(v) + 4, "end", label);
  }
  for (const auto& [v, label] : x_ticks) svg += text_at(x(v), kHeight - kBottom + 18, "middle", label);
  svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", x_title);
  return svg;
}

constexpr int kHistogramBins = 40;
constexpr double kLowestKl = 1e-6, kHighestKl = 10;

std::array<double, kHistogramBins> histogram(const std::vector<float>& kl) {
  std::array<double, kHistogramBins> share{};
  for (float v : kl) {
    const double clamped = std::clamp(double(v), kLowestKl, kHighestKl * 0.999);
    const double t = std::log(clamped / kLowestKl) / std::log(kHighestKl / kLowestKl);
    share[size_t(t * kHistogramBins)] += 100.0 / double(kl.size());
  }
  return share;
}

struct SitePlace {
  std::string kind;
  int layer;
};

// "layers.12.mlp.down_proj" -> {"mlp.down_proj", 12}; the ends have no place in the grid.
std::optional<SitePlace> place_of(const std::string& name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int layer = 0;
  const char* begin = name.data() + kPrefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
  if (error != std::errc() || *end != '.') return std::nullopt;
  return SitePlace{std::string(end + 1), layer};
}

std::string percent(double share) { return fmt::format("{:.2g} %", 100 * share); }

// A training: a figure of every step, and one at some of them.
struct StepCurves {
  int64_t steps = 0;
  std::vector<float> each;
  std::vector<std::pair<int64_t, double>> looks;  // after so many steps
  int64_t kept = 0;                               // index into `looks`
};

// The steps as dots, each the mean of so many that there are at most kDots; the looks as a line.
std::string steps_chart(const StepCurves& curves, std::string_view label) {
  constexpr size_t kDots = 400;
  const size_t together = (curves.each.size() + kDots - 1) / kDots;
  std::vector<std::pair<double, double>> dots;
  for (size_t i = 0; i < curves.each.size(); i += together) {
    const size_t count = std::min(together, curves.each.size() - i);
    double sum = 0;
    for (size_t k = 0; k < count; ++k) sum += double(curves.each[i + k]);
    dots.emplace_back(double(i) + 0.5 * double(count), sum / double(count));
  }
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const auto& [step, value] : dots) low = std::min(low, value), high = std::max(high, value);
  for (const auto& [step, value] : curves.looks) low = std::min(low, value), high = std::max(high, value);
  if (dots.empty() || !(high > low)) return {};
  const double room = 0.08 * (high - low);
  const Scale x{0, double(curves.steps), kLeft, kWidth - kRight};
  const Scale y{std::max(0.0, low - room), high + room, kHeight - kBottom, kTop};
  std::vector<std::pair<double, std::string>> x_ticks, y_ticks;
  for (double v : round_ticks(x.low, x.high, 6)) x_ticks.emplace_back(v, fmt::format("{:.4g}", v));
  for (double v : round_ticks(y.low, y.high, 5)) y_ticks.emplace_back(v, fmt::format("{:.3g}", v));
  std::string svg = open_svg(kWidth, kHeight, label);
  svg += axes(x, y, x_ticks, y_ticks, "steps");
  for (const auto& [step, value] : dots)
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\" fill=\"var(--series-0)\"/>\n", x(step),
                       y(value));
  if (curves.looks.empty()) return svg + "</svg>\n";
  std::string points;
  for (const auto& [step, value] : curves.looks)
    points += fmt::format("{:.1f},{:.1f} ", x(double(step)), y(value));
  svg += fmt::format("<polyline class=\"curve\" stroke=\"var(--series-1)\" points=\"{}\"/>\n", points);
  const auto& [step, value] = curves.looks[size_t(curves.kept)];
  svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"var(--series-2)\"/>\n",
                     x(double(step)), y(value));
  svg += text_at(x(double(step)), y(value) - 9,
                 step == 0              ? "start"
                 : step == curves.steps ? "end"
                                        : "middle",
                 fmt::format("kept: {:.4f}", value));
  return svg + "</svg>\n";
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string size_quality_chart(const Report& report) {
  double largest = 0, low = kHighestKl, high = kLowestKl;
  for (const ReportRow& row : report.rows) {
    largest = std::max(largest, double(row.file_bytes));
    if (!row.quality.divergence) continue;
    low = std::min(low, std::max(row.quality.divergence->kl_mean, kLowestKl));
    high = std::max(high, row.quality.divergence->kl_mean);
  }
  if (low > high) return {};
  const Scale x{0, largest * 1.15, kLeft, kWidth - kRight};
  // Whole decades, so that pictures of different runs compare at a glance.
  const Scale y{std::pow(10, std::floor(std::log10(low * 0.999))),
                std::pow(10, std::ceil(std::log10(high * 1.001))), kHeight - kBottom, kTop, true};
  std::vector<std::pair<double, std::string>> x_ticks, y_ticks;
  for (double v : round_ticks(x.low, x.high, 6)) x_ticks.emplace_back(v, bytes_text(int64_t(v)));
  for (double v = y.low; v <= y.high * 1.01; v *= 10) y_ticks.emplace_back(v, fmt::format("{:.6g}", v));
  std::string svg = open_svg(kWidth, kHeight, "File size against mean KL divergence from the float model");
  svg += axes(x, y, x_ticks, y_ticks, "file size");
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const ReportRow& row = report.rows[i];
    const double px = x(double(row.file_bytes));
    const bool left = px > kWidth * 0.7;
    if (!row.quality.divergence) {  // the reference itself: no divergence, only a size
      svg += fmt::format(
          "<line class=\"reference\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>\n", px,
          kTop, kHeight - kBottom);
      svg += text_at(px + (left ? -6 : 6), kTop + 10, left ? "end" : "start", row.name);
      continue;
    }
    const double kl = std::max(row.quality.divergence->kl_mean, kLowestKl), py = y(kl);
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"6\" fill=\"var(--series-{})\"><title>{}: {}, KL "
        "{:.5f}</title></circle>\n",
        px, py, i, escape_html(row.name), bytes_text(row.file_bytes), kl);
    svg += text_at(px + (left ? -11 : 11), py + 4, left ? "end" : "start", row.name);
  }
  return svg + "</svg>\n";
}

std::string divergence_chart(const Report& report) {
  const Scale x{kLowestKl, kHighestKl, kLeft, kWidth - kRight, true};
  double top = 1;
  for (const ReportRow& row : report.rows)
    if (row.quality.divergence)
      for (double share : histogram(row.quality.divergence->kl)) top = std::max(top, share);
  // The legend stands above the curves, a line for each.
  const double legend = 17.0 * double(report.rows.size() - 1) + 6;
  const Scale y{0, top * 1.05, kHeight - kBottom, kTop + legend};
  std::vector<std::pair<double, std::string>> x_ticks, y_ticks;
  for (double v = kLowestKl; v <= kHighestKl * 1.01; v *= 10)
    x_ticks.emplace_back(v, fmt::format("{:.6g}", v));
  for (double v : round_ticks(0, y.high, 4)) y_ticks.emplace_back(v, fmt::format("{:.3g} %", v));
  std::string svg = open_svg(kWidth, kHeight, "Share of predictions by divergence from the float model");
  svg += axes(x, y, x_ticks, y_ticks, "KL divergence of one prediction, nats");
  double label_y = kTop + 12;
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const auto& d = report.rows[i].quality.divergence;
    if (!d) continue;
    const auto share = histogram(d->kl);
    std::string points;
    for (int b = 0; b < kHistogramBins; ++b) {
      const double center = kLowestKl * std::pow(kHighestKl / kLowestKl, (b + 0.5) / kHistogramBins);
      points += fmt::format("{:.1f},{:.1f} ", x(center), y(share[size_t(b)]));
    }
    svg += fmt::format("<polyline class=\"curve\" stroke=\"var(--series-{})\" points=\"{}\"/>\n", i, points);
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"var(--series-{})\"/>\n",
                       kLeft + 14, label_y - 4, i);
    svg += text_at(kLeft + 24, label_y, "start",
                   fmt::format("{}: mean {:.4f}", report.rows[i].name, d->kl_mean));
    label_y += 17;
  }
  return svg + "</svg>\n";
}

std::string site_error_chart(const ReportRow& row) {
  std::vector<std::string> kinds;
  std::map<std::pair<size_t, int>, const SiteReport*> cells;
  int layers = 0;
  double low = 1, high = 1e-9;
  for (const SiteReport& site : row.sites) {
    const auto place = place_of(site.name);
    if (!place) continue;
    auto kind = std::find(kinds.begin(), kinds.end(), place->kind);
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), place->kind);
    cells[{size_t(kind - kinds.begin()), place->layer}] = &site;
    layers = std::max(layers, place->layer + 1);
    const double error = std::max(site.relative_error, 1e-9);
    low = std::min(low, error);
    high = std::max(high, error);
  }
  if (cells.empty()) return {};
  constexpr double kLabel = 120, kCell = 26;
  const double cell_width = std::min(48.0, (kWidth - kLabel) / layers);
  const double height = double(kinds.size()) * kCell + 46;
  std::string svg = open_svg(kWidth, height, "Relative error of every site");
  for (size_t k = 0; k < kinds.size(); ++k)
    svg += text_at(kLabel - 8, double(k) * kCell + 17, "end", kinds[k]);
  const double range = std::max(std::log(high / low), 1e-9);
  for (const auto& [at, site] : cells) {
    const double t = std::log(std::max(site->relative_error, 1e-9) / low) / range;
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"var(--heat)\" "
        "fill-opacity=\"{:.2f}\">"
        "<title>{}: {} {}, relative error {}</title></rect>\n",
        kLabel + at.second * cell_width, double(at.first) * kCell, cell_width - 2, kCell - 2, 0.08 + 0.92 * t,
        escape_html(site->name), site->method, site->scheme, percent(site->relative_error));
  }
  const int step = layers > 16 ? 5 : 1;
  for (int l = 0; l < layers; l += step)
    svg += text_at(kLabel + (l + 0.5) * cell_width, double(kinds.size()) * kCell + 16, "middle",
                   std::to_string(l));
  svg +=
      text_at(kLabel, height - 6, "start",
              fmt::format("layer; lightest {}, darkest {} of the {}", percent(low), percent(high),
                          row.sites.front().calibrated || row.sites.back().calibrated ? "output energy"
                                                                                      : "weights' energy"));
  return svg + "</svg>\n";
}

std::string budget_chart(const BudgetReport& budget) {
  if (budget.curve.size() < 2) return {};
  double low = budget.kl, high = budget.kl;
  for (const SizePoint& p : budget.curve) low = std::min(low, p.kl), high = std::max(high, p.kl);
  for (const NamedSizePoint& p : budget.uniform)
    low = std::min(low, p.point.kl), high = std::max(high, p.point.kl);
  low = std::max(low, kLowestKl);
  const double first = double(budget.curve.front().bytes), last = double(budget.curve.back().bytes);
  const Scale x{first - 0.05 * (last - first), last + 0.12 * (last - first), kLeft, kWidth - kRight};
  const Scale y{std::pow(10, std::floor(std::log10(low * 0.999))),
                std::pow(10, std::ceil(std::log10(std::max(high, low) * 1.001))), kHeight - kBottom, kTop,
                true};
  std::vector<std::pair<double, std::string>> x_ticks, y_ticks;
  for (double v : round_ticks(x.low, x.high, 6)) x_ticks.emplace_back(v, bytes_text(int64_t(v)));
  for (double v = y.low; v <= y.high * 1.01; v *= 10) y_ticks.emplace_back(v, fmt::format("{:.6g}", v));
  std::string svg = open_svg(kWidth, kHeight, "Predicted KL divergence of the best choice at every size");
  svg += axes(x, y, x_ticks, y_ticks, "bytes of the weights");
  std::string points;
  for (const SizePoint& p : budget.curve)
    points += fmt::format("{:.1f},{:.1f} ", x(double(p.bytes)), y(std::max(p.kl, low)));
  svg += fmt::format("<polyline class=\"curve\" stroke=\"var(--series-1)\" points=\"{}\"/>\n", points);
  const auto dot = [&](const SizePoint& p, std::string_view name, int series) {
    const double px = x(double(p.bytes)), py = y(std::max(p.kl, low));
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"var(--series-{})\"><title>{}: {}, KL "
        "{:.5f}</title></circle>\n",
        px, py, series, escape_html(name), bytes_text(p.bytes), p.kl);
    svg += text_at(px + 9, py - 6, "start", name);
  };
  for (const NamedSizePoint& p : budget.uniform) dot(p.point, p.name, 0);
  dot({budget.bytes, budget.kl}, "chosen", 2);
  return svg + "</svg>\n";
}

std::string tune_chart(const TuneReport& report) {
  StepCurves curves{.steps = report.steps, .each = report.train, .looks = {}, .kept = report.kept};
  for (const HeldoutPoint& p : report.heldout) curves.looks.emplace_back(p.step, p.kl);
  return steps_chart(curves, "KL divergence from the float model step by step");
}

std::string train_chart(const TrainReport& report) {
  StepCurves curves{.steps = report.steps, .each = report.losses[0], .looks = {}, .kept = report.kept};
  for (const HeldoutLook& look : report.looks) curves.looks.emplace_back(look.step, watched(report, look));
  return steps_chart(curves, "Loss step by step, and on text held out");
}

std::string term_chart(const TrainReport& report, size_t term) {
  return steps_chart({.steps = report.steps, .each = report.losses[term], .looks = {}, .kept = 0},
                     report.terms[term] + " step by step");
}

}  // namespace edgeq

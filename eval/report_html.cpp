// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "core/text.h"
#include "eval/charts.h"
#include "eval/report.h"

namespace edgeq {
namespace {

constexpr std::string_view kStyle = R"css(
:root { --page: #ffffff; --ink: #1c2024; --faint: #6a7178; --line: #e2e5e8; --heat: #b3261e;
  --series-0: #6a7178; --series-1: #2f6fdb; --series-2: #c2570c; --series-3: #15803d; --series-4: #8b3fc7; --series-5: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181b; --ink: #e8eaec; --faint: #9aa1a8; --line: #30353a; --heat: #ff7b6e;
    --series-0: #9aa1a8; --series-1: #74a4ff; --series-2: #ff9d57; --series-3: #5fcf86; --series-4: #c694f5; --series-5: #ff7b6e; } }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto;
  padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .4rem; }
.faint, .protocol, caption { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.main td { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--line); } .reference { stroke: var(--faint); stroke-dasharray: 4 4; } .curve { fill: none; stroke-width: 2; }
blockquote { margin: .5rem 0; padding: .6rem 1rem; border-left: 3px solid var(--line); } blockquote b { font-weight: 600; }
summary { cursor: pointer; }
)css";

std::string table_html(const Report& report) {
  const auto cells = report_cells(report);
  std::string html = "<div class=\"scroll\"><table>\n<tr>";
  for (const std::string& cell : cells[0]) html += fmt::format("<th>{}</th>", escape_html(cell));
  html += "</tr>\n";
  for (size_t r = 1; r < cells.size(); ++r) {
    html += r + 1 == cells.size() ? "<tr class=\"main\">" : "<tr>";
    for (const std::string& cell : cells[r]) html += fmt::format("<td>{}</td>", escape_html(cell));
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string sites_html(const ReportRow& row) {
  std::string html = fmt::format(
      "<details><summary>All {} sites</summary><div class=\"scroll\"><table>\n"
      "<tr><th>site</th><th>method</th><th>scheme</th><th>shape</th><th>bytes</th><th>relative "
      "error</th><th>tokens seen</th>"
      "<th>damping</th></tr>\n",
      row.sites.size());
  for (const SiteReport& s : row.sites) {
    std::string damping = s.damping == 0 ? "-" : fmt::format("{:.3g}", s.damping);
    if (s.damping_raises != 0) damping += fmt::format(" (raised {} times)", s.damping_raises);
    html += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{} x "
        "{}</td><td>{}</td><td>{:.3g}</td><td>{}</td><td>{}</td></tr>\n",
        escape_html(s.name), s.method.empty() ? "keep" : s.method, s.scheme, s.rows, s.cols,
        bytes_text(s.bytes), s.relative_error, s.tokens, damping);
  }
  return html + "</table></div></details>\n";
}

std::string budget_html(const BudgetReport& budget) {
  std::string html = budget_chart(budget);
  html += fmt::format(
      "<p>Budget {}: the weights take {} of {}; predicted KL {:.4f}. At this size a MB more "
      "would save {:.2g}.</p>\n",
      escape_html(budget.budget), bytes_text(budget.bytes), bytes_text(budget.budget_bytes), budget.kl,
      1e6 * budget_price(budget));
  html += fmt::format(
      "<details><summary>Why each of {} sites has its form</summary><div class=\"scroll\"><table>\n",
      budget.sites.size());
  const auto cells = budget_cells(budget);
  for (size_t r = 0; r < cells.size(); ++r) {
    html += "<tr>";
    for (const std::string& cell : cells[r])
      html += fmt::format("<{0}>{1}</{0}>", r == 0 ? "th" : "td", escape_html(cell));
    html += "</tr>\n";
  }
  return html + "</table></div></details>\n";
}

std::string section(std::string_view title, std::string_view explanation, const std::string& body) {
  if (body.empty()) return {};
  return fmt::format("<h2>{}</h2>\n<p class=\"faint\">{}</p>\n{}", title, explanation, body);
}

std::string pruning_html(const PruneReport& p) {
  const std::string between = p.score.empty() || p.block_score.empty() ? "" : ", ";
  std::string body = score_map(p);
  for (const std::string& line : {prune_summary(p), zeros_summary(p), p.equal_bytes})
    if (!line.empty()) body += fmt::format("<p>{}</p>\n", escape_html(line));
  return section("What was pruned",
                 p.score.empty() && p.block_score.empty()
                     ? "Zeros where weights were."
                     : fmt::format("Scores by {}{}{}: darker is worth more, in its layer; crossed out went.",
                                   p.score, between, p.block_score),
                 body);
}

std::string training_html(const TrainReport& t) {
  std::string html =
      section("How it learned",
              fmt::format("{} of each step, and {} on text held out; the best is what was kept.",
                          escape_html(t.terms[0]), t.teacher_log_loss > 0 ? "KL from the teacher" : "loss"),
              train_chart(t));
  html += fmt::format("<p>{}.</p>\n", escape_html(train_summary(t)));
  for (size_t i = 1; i < t.terms.size(); ++i)
    html +=
        section(escape_html(t.terms[i]), "The same of another loss, before its weight.", term_chart(t, i));
  return html;
}

std::string page(const std::string& title, const std::string& faint, const std::string& body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{0}</title>\n<style>{1}</style></head><body>\n"
      "<h1>{0}</h1>\n<p class=\"faint\">{2}</p>\n{3}</body></html>\n",
      escape_html(title), kStyle, escape_html(faint), body);
}

std::string looks_html(const TrainReport& t) {
  std::string html =
      "<div class=\"scroll\"><table>\n<tr><th>tokens</th><th>step</th><th>KL from the "
      "teacher</th><th>loss</th>"
      "<th>perplexity</th></tr>\n";
  for (int64_t i = 0; i < std::ssize(t.looks); ++i) {
    const HeldoutLook& look = t.looks[size_t(i)];
    html += fmt::format("<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{:.4f}</td><td>{:.3f}</td></tr>\n",
                        i == t.kept ? " class=\"main\"" : "", look.tokens, look.step,
                        t.teacher_log_loss > 0 ? fmt::format("{:.4f}", look.kl) : "-", look.log_loss,
                        std::exp(look.log_loss));
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string train_page(const TrainReport& t, const TrainPage& about) {
  std::string body = training_html(t);
  if (!t.looks.empty())
    body += section("Held-out text", "At each look; the kept one is marked.", looks_html(t));
  body += "<h2>Protocol</h2>\n<ul class=\"protocol\">\n";
  std::vector<std::string> lines = {
      fmt::format("Data: {}.", about.data),
      about.teacher.empty() ? std::string("No teacher.") : fmt::format("Teacher: {}.", about.teacher),
      fmt::format("{} parameters trained in {} on {} tokens in {} on {}: {:.0f} tokens/s.", t.parameters,
                  t.arithmetic, t.tokens, duration_text(t.seconds), about.machine, t.tokens_per_second())};
  if (t.teacher_log_loss > 0)
    lines.push_back(
        fmt::format("Perplexity of the teacher on the text held out: {:.3f}.", std::exp(t.teacher_log_loss)));
  if (t.cache)
    lines.push_back(fmt::format("The teacher was computed once and kept as {}: {}, {:.1f} bytes a token.",
                                t.cache->form, bytes_text(t.cache->bytes), t.cache->bytes_per_token));
  lines.push_back(fmt::format("edgeq {}.", about.version));
  for (const std::string& line : lines) body += fmt::format("<li>{}</li>\n", escape_html(line));
  return page(about.title, about.date, body + "</ul>\n");
}

std::string report_html(const Report& r) {
  std::string html = table_html(r);
  if (!r.continuation.empty())
    html += section("What it says", "Greedy continuation of the prompt by the packed model.",
                    fmt::format("<blockquote>{}<b>{}</b></blockquote>\n", escape_html(r.prompt),
                                escape_html(r.continuation)));
  if (r.pruning) html += pruning_html(*r.pruning);
  if (r.healing) html += training_html(*r.healing);
  html += section("Size against quality",
                  "Mean KL divergence from the reference; lower and further left is better.",
                  size_quality_chart(r));
  html += section("Where the divergence lies",
                  "Share of predictions at each divergence from the reference; further left is better.",
                  divergence_chart(r));
  if (const auto& budget = r.rows.back().budget)
    html += section(
        "What a budget chose",
        "Predicted KL divergence of the best choice at every size; points where all sites take one form.",
        budget_html(*budget));
  if (const auto& tuning = r.rows.back().tuning)
    html += section("What tuning did",
                    "KL divergence from the float model at each step, and on the windows held out.",
                    tune_chart(*tuning) + fmt::format("<p>{}.</p>\n", escape_html(tune_summary(*tuning))));
  if (!r.rows.back().sites.empty()) {
    html += section("Error per layer and site", "Relative error that the codes make; hover for figures.",
                    site_error_chart(r.rows.back()));
    html += sites_html(r.rows.back());
  }
  html += "<h2>Protocol</h2>\n<ul class=\"protocol\">\n";
  for (const std::string& line : protocol_lines(r)) html += fmt::format("<li>{}</li>\n", escape_html(line));
  return page(fmt::format("{}: {}", r.title, r.model),
              (r.recipe.empty() ? "" : fmt::format("recipe {}, for {}, ", r.recipe, r.target)) + r.date,
              html + "</ul>\n");
}

}  // namespace edgeq

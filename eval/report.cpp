// SPDX-License-Identifier: Apache-2.0
#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"

namespace edgeq {
namespace {

// The table as text, cell by cell: one definition for the terminal, Markdown and HTML.
std::vector<std::string> header_cells() {
  return {"model", "perplexity",  "KL mean",     "KL p99",     "top-1",
          "file",  "bits/weight", "prefill t/s", "decode t/s", "peak memory"};
}

// Columns that only some reports have.
void add_optional_cells(const Report& report, std::vector<std::vector<std::string>>& cells) {
  const auto add = [&](const std::string& header, const auto& cell) {
    cells[0].push_back(header);
    for (size_t r = 0; r < report.rows.size(); ++r) cells[r + 1].push_back(cell(report.rows[r]));
  };
  const bool with_calibration =
      std::ranges::any_of(report.rows, [](const ReportRow& row) { return row.calibration_kl.has_value(); });
  if (with_calibration)
    add("KL calibration", [](const ReportRow& row) {
      return row.calibration_kl ? fmt::format("{:.5f}", *row.calibration_kl) : "-";
    });
  for (size_t t = 0; t < report.rows[0].tasks.size(); ++t)
    add(report.rows[0].tasks[t].name + " %", [&](const ReportRow& row) {
      const TaskScore& score = row.tasks[t];
      return fmt::format("{:.1f} +- {:.1f}", 100 * score.accuracy_norm, 100 * score.standard_error_norm);
    });
}

std::string task_line(const Report& report) {
  std::string text;
  for (const TaskScore& task : report.rows[0].tasks)
    text += fmt::format("{}{} ({} items, {})", text.empty() ? "" : ", ", task.name, task.right.size(),
                        task.hash.substr(0, 12));
  return fmt::format(
      "Tasks: {}; the choice with the highest log-probability per character, with standard errors.", text);
}

// How settled the statistics are: "" when nothing says.
std::string settling_line(const ReportRow& row) {
  std::vector<double> changes;
  const SiteReport* worst = nullptr;
  for (const SiteReport& site : row.sites) {
    if (site.last_quarter_change == 0) continue;
    changes.push_back(site.last_quarter_change);
    if (worst == nullptr || site.last_quarter_change > worst->last_quarter_change) worst = &site;
  }
  if (worst == nullptr) return {};
  const auto middle = changes.begin() + std::ssize(changes) / 2;
  std::nth_element(changes.begin(), middle, changes.end());
  return fmt::format(
      "Convergence: with the last quarter of the calibration windows the mean squares of the sites' inputs "
      "still moved by {:.1f} % (median), {:.1f} % at {}.",
      100 * *middle, 100 * worst->last_quarter_change, worst->name);
}

std::vector<std::string> row_cells(const ReportRow& row) {
  const auto& d = row.quality.divergence;
  const auto& l = row.latency;
  return {row.name,
          fmt::format("{:.3f}", row.quality.perplexity),
          d ? fmt::format("{:.5f}", d->kl_mean) : "-",
          d ? fmt::format("{:.4f}", d->kl_p99) : "-",
          d ? fmt::format("{:.2f} %", 100 * d->top1_agreement) : "-",
          bytes_text(row.file_bytes),
          fmt::format("{:.2f}", row.bits_per_weight),
          l ? fmt::format("{:.0f}", l->prefill_tokens_per_second) : "-",
          l ? fmt::format("{:.0f}", l->decode_tokens_per_second) : "-",
          l ? bytes_text(row.peak_rss_bytes) : "-"};
}

std::string markdown_table(const std::vector<std::vector<std::string>>& cells) {
  std::string text;
  for (size_t r = 0; r < cells.size(); ++r) {
    text += fmt::format("| {} |\n", fmt::join(cells[r], " | "));
    if (r != 0) continue;
    text += "| --- |";
    for (size_t c = 1; c < cells[0].size(); ++c) text += " ---: |";
    text += '\n';
  }
  return text;
}

}  // namespace

std::vector<std::vector<std::string>> report_cells(const Report& report) {
  std::vector<std::vector<std::string>> cells{header_cells()};
  for (const ReportRow& row : report.rows) cells.push_back(row_cells(row));
  if (!report.rows.empty()) add_optional_cells(report, cells);
  return cells;
}

std::vector<std::string> protocol_lines(const Report& r) {
  std::vector<std::string> lines;
  if (r.rows.empty()) return lines;
  const TextQuality& q = r.rows.back().quality;
  lines.push_back(
      fmt::format("Perplexity and divergence: {} non-overlapping windows of {} tokens from the start of {} "
                  "({}), no BOS, each from an "
                  "empty cache; the {} predictions of the windows' second halves are scored.",
                  q.windows, q.window_tokens, r.corpus, r.corpus_hash.substr(0, 12), q.predictions));
  lines.push_back(
      fmt::format("KL is KL({0} || model) per prediction in nats, computed beside {0}; top-1 is how often "
                  "both give the same likeliest token.",
                  r.reference));
  if (const std::string warning = report_warning(r); !warning.empty()) lines.push_back(warning);
  if (!r.rows[0].tasks.empty()) lines.push_back(task_line(r));
  if (!r.calibration.empty())
    lines.push_back(fmt::format("Calibration: {} windows of {} tokens of {} ({}).", r.calibration_windows,
                                r.calibration_tokens, r.calibration, r.calibration_hash.substr(0, 12)));
  if (r.rows.back().calibration_kl)
    lines.emplace_back("KL calibration: the same figure on the first of the calibration windows.");
  if (const std::string line = settling_line(r.rows.back()); !line.empty()) lines.push_back(line);
  if (r.healing) lines.push_back("After pruning, healed: " + train_summary(*r.healing) + ".");
  if (const auto& tuning = r.rows.back().tuning)
    lines.push_back("After quantizing, " + tune_summary(*tuning) + ".");
  if (const auto& l = r.rows.back().latency)
    lines.push_back(
        fmt::format("Speed and memory: a process of its own on {}, {} threads, kernels {}; prompt of {} "
                    "tokens, {} tokens generated, "
                    "medians of 3.",
                    r.machine, r.threads, r.isa, l->prompt_tokens, l->tokens));
  std::string identity = fmt::format("Tokenizer {}, ", r.tokenizer_hash.substr(0, 12));
  if (!r.model_hash.empty()) identity += fmt::format("model {}, ", r.model_hash.substr(0, 12));
  lines.push_back(fmt::format("{}edgeq {}.", identity, r.version));
  return lines;
}

std::string report_warning(const Report& report) {
  if (report.calibrated_share == 0) return {};
  return fmt::format(
      "Warning: {:.1f} % of the scored text was also calibrated on (runs of {} tokens): the figures flatter.",
      100 * report.calibrated_share, kSharedRun);
}

std::string report_table(const Report& report) {
  const auto cells = report_cells(report);
  std::vector<size_t> widths(cells[0].size());
  for (const auto& row : cells)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (size_t r = 0; r < cells.size(); ++r) {
    for (size_t c = 0; c < cells[r].size(); ++c)
      text += c == 0 ? fmt::format("{:<{}}", cells[r][c], widths[c])
                     : fmt::format("  {:>{}}", cells[r][c], widths[c]);
    text += '\n';
  }
  return text;
}

std::string report_markdown(const Report& report) {
  std::string text = fmt::format("# {}: {}\n\n", report.title, report.model);
  text += markdown_table(report_cells(report)) + '\n';
  for (const std::string& line : protocol_lines(report)) text += fmt::format("- {}\n", line);
  if (report.pruning)
    text += fmt::format("\n## Pruned\n\n{}\n\n{}{}\n", prune_summary(*report.pruning),
                        report.pruning->mask.empty() ? "" : zeros_summary(*report.pruning) + "\n\n",
                        report.pruning->equal_bytes);
  if (const auto& budget = report.rows.back().budget)
    text += fmt::format("\n## Budget\n\n```\n{}```\n\n{}", budget_summary(*budget),
                        markdown_table(budget_cells(*budget)));
  if (!report.continuation.empty()) text += fmt::format("\n> {}**{}**\n", report.prompt, report.continuation);
  return text;
}

}  // namespace edgeq

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

}  // namespace

std::vector<std::vector<std::string>> report_cells(const Report& report) {
  std::vector<std::vector<std::string>> cells{header_cells()};
  for (const ReportRow& row : report.rows) cells.push_back(row_cells(row));
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
      "KL is KL(float || model) per prediction in nats, computed beside the float model; top-1 is how often "
      "both give the same likeliest token.");
  if (!r.calibration.empty())
    lines.push_back(fmt::format("Calibration: {} windows of {} tokens of {} ({}).", r.calibration_windows,
                                r.calibration_tokens, r.calibration, r.calibration_hash.substr(0, 12)));
  if (const auto& l = r.rows.back().latency)
    lines.push_back(
        fmt::format("Speed and memory: a process of its own on {}, {} threads, kernels {}; prompt of {} "
                    "tokens, {} tokens generated, "
                    "medians of 3.",
                    r.machine, r.threads, r.isa, l->prompt_tokens, l->tokens));
  lines.push_back(fmt::format("Tokenizer {}, model {}, edgeq {}.", r.tokenizer_hash.substr(0, 12),
                              r.model_hash.substr(0, 12), r.version));
  return lines;
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
  const auto cells = report_cells(report);
  for (size_t r = 0; r < cells.size(); ++r) {
    text += fmt::format("| {} |\n", fmt::join(cells[r], " | "));
    if (r == 0) {
      text += "| --- |";
      for (size_t c = 1; c < cells[0].size(); ++c) text += " ---: |";
      text += '\n';
    }
  }
  text += '\n';
  for (const std::string& line : protocol_lines(report)) text += fmt::format("- {}\n", line);
  if (!report.continuation.empty()) text += fmt::format("\n> {}**{}**\n", report.prompt, report.continuation);
  return text;
}

}  // namespace edgeq

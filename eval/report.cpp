// SPDX-License-Identifier: Apache-2.0
#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/text.h"

namespace edgeq {
namespace {

using nlohmann::ordered_json;

ordered_json row_json(const ReportRow& row) {
  ordered_json j{{"name", row.name},
                 {"file", row.file},
                 {"file_bytes", row.file_bytes},
                 {"weight_bytes", row.weight_bytes},
                 {"bits_per_weight", row.bits_per_weight},
                 {"kv_bytes_per_token", row.kv_bytes_per_token},
                 {"perplexity", row.quality.perplexity},
                 {"perplexity_all", row.quality.perplexity_all},
                 {"predictions", row.quality.predictions}};
  if (row.quality.divergence) {
    const Divergence& d = *row.quality.divergence;
    j["perplexity_standard_error"] = row.quality.perplexity_standard_error;
    j["kl_mean"] = d.kl_mean;
    j["kl_standard_error"] = d.kl_standard_error;
    j["kl_median"] = d.kl_median;
    j["kl_p99"] = d.kl_p99;
    j["kl_max"] = d.kl_max;
    j["top1_agreement"] = d.top1_agreement;
  }
  if (row.latency) {
    const Latency& l = *row.latency;
    j["prompt_tokens"] = l.prompt_tokens;
    j["tokens"] = l.tokens;
    j["prefill_tokens_per_second"] = l.prefill_tokens_per_second;
    j["decode_tokens_per_second"] = l.decode_tokens_per_second;
    j["first_token_ms"] = l.first_token_ms;
    j["token_ms_p50"] = l.token_ms_p50;
    j["token_ms_p99"] = l.token_ms_p99;
    j["decode_bytes_per_second"] = l.decode_bytes_per_second;
    j["read_bandwidth"] = l.read_bandwidth;
    j["peak_rss_bytes"] = row.peak_rss_bytes;
  }
  if (row.seconds > 0) j["seconds"] = row.seconds;
  for (const SiteReport& s : row.sites)
    j["sites"].push_back({{"name", s.name},
                          {"scheme", s.scheme},
                          {"method", s.method},
                          {"bytes", s.bytes},
                          {"relative_error", s.relative_error},
                          {"error_at", s.calibrated ? "outputs" : "weights"},
                          {"tokens", s.tokens},
                          {"damping", s.damping},
                          {"damping_raises", s.damping_raises},
                          {"dead_columns", s.dead_columns}});
  return j;
}

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

std::string report_json(const Report& r) {
  ordered_json j{{"title", r.title},
                 {"date", r.date},
                 {"version", r.version},
                 {"machine", r.machine},
                 {"isa", r.isa},
                 {"threads", r.threads},
                 {"model", r.model},
                 {"model_hash", r.model_hash},
                 {"recipe", r.recipe},
                 {"target", r.target},
                 {"corpus", r.corpus},
                 {"corpus_hash", r.corpus_hash},
                 {"calibration", r.calibration},
                 {"calibration_hash", r.calibration_hash},
                 {"calibration_windows", r.calibration_windows},
                 {"calibration_tokens", r.calibration_tokens},
                 {"tokenizer_hash", r.tokenizer_hash},
                 {"context", r.context},
                 {"protocol", protocol_lines(r)},
                 {"prompt", r.prompt},
                 {"continuation", r.continuation}};
  for (const ReportRow& row : r.rows) j["rows"].push_back(row_json(row));
  // A continuation may end inside a character.
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace);
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

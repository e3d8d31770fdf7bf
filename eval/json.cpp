// SPDX-License-Identifier: Apache-2.0
#include "eval/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "eval/report.h"

namespace edgeq {
namespace {

using nlohmann::ordered_json;

ordered_json facts_json(const ModelFacts& f) {
  return {{"model", f.model},
          {"isa", f.isa},
          {"file_bytes", f.file_bytes},
          {"bits_per_weight", f.bits_per_weight},
          {"weight_bytes", f.weight_bytes},
          {"kv", f.kv},
          {"reach", f.reach},
          {"kv_bytes_per_token", f.kv_bytes_per_token},
          {"peak_rss_bytes", f.peak_rss_bytes}};
}

void add_speeds(ordered_json& j, const Latency& l) {
  j["prompt_tokens"] = l.prompt_tokens;
  j["tokens"] = l.tokens;
  j["prefill_tokens_per_second"] = l.prefill_tokens_per_second;
  j["decode_tokens_per_second"] = l.decode_tokens_per_second;
  j["first_token_ms"] = l.first_token_ms;
  j["token_ms_p50"] = l.token_ms_p50;
  j["token_ms_p99"] = l.token_ms_p99;
  j["decode_bytes_per_second"] = l.decode_bytes_per_second;
  j["read_bandwidth"] = l.read_bandwidth;
  j["prefill_multiplies_per_second"] = l.prefill_multiplies_per_second;
  j["int8_peak"] = l.int8_peak;
}

void add_divergence(ordered_json& j, const Divergence& d) {
  j["kl_mean"] = d.kl_mean;
  j["kl_standard_error"] = d.kl_standard_error;
  j["kl_median"] = d.kl_median;
  j["kl_p99"] = d.kl_p99;
  j["kl_max"] = d.kl_max;
  j["top1_agreement"] = d.top1_agreement;
}

void add_quality(ordered_json& j, const TextQuality& q) {
  j["windows"] = q.windows;
  j["window_tokens"] = q.window_tokens;
  j["predictions"] = q.predictions;
  j["perplexity"] = q.perplexity;
  j["perplexity_all"] = q.perplexity_all;
  j["perplexity_standard_error"] = q.perplexity_standard_error;
  if (!q.divergence) return;
  j["reference_perplexity"] = q.reference_perplexity;
  j["reference_perplexity_all"] = q.reference_perplexity_all;
  add_divergence(j, *q.divergence);
}

ordered_json task_json(const TaskScore& score, const TaskScore* reference) {
  ordered_json j{{"task", score.name},
                 {"items", score.right.size()},
                 {"accuracy", score.accuracy},
                 {"stderr", score.standard_error},
                 {"accuracy_norm", score.accuracy_norm},
                 {"stderr_norm", score.standard_error_norm}};
  if (reference == nullptr) return j;
  const TaskDifference d = task_difference(score, *reference);
  j["reference_accuracy"] = reference->accuracy;
  j["reference_accuracy_norm"] = reference->accuracy_norm;
  j["accuracy_difference"] = d.accuracy;
  j["accuracy_difference_stderr"] = d.standard_error;
  j["accuracy_norm_difference"] = d.accuracy_norm;
  j["accuracy_norm_difference_stderr"] = d.standard_error_norm;
  return j;
}

ordered_json form_json(const ChoiceForm& form) {
  return {{"scheme", form.scheme}, {"bytes", form.bytes}, {"predicted_kl", form.kl}};
}

ordered_json tuning_json(const TuneReport& t) {
  ordered_json j{{"what", t.what},   {"windows", t.windows}, {"heldout_windows", t.heldout_windows},
                 {"steps", t.steps}, {"stopped", t.stopped}, {"train_kl", t.train}};
  for (const HeldoutPoint& point : t.heldout)
    j["heldout"].push_back({{"step", point.step}, {"kl", point.kl}});
  j["kept_step"] = t.heldout[size_t(t.kept)].step;
  return j;
}

ordered_json units_json(const std::vector<ScoredUnit>& units) {
  ordered_json j = ordered_json::array();
  for (const ScoredUnit& unit : units) j.push_back({{"score", unit.score}, {"stays", unit.stays}});
  return j;
}

ordered_json pruning_json(const PruneReport& p) {
  ordered_json j{{"score", p.score},
                 {"block_score", p.block_score},
                 {"compensated", p.compensated},
                 {"weights", {{"before", p.weights_before}, {"after", p.weights_after}}},
                 {"per_layer", p.per_layer},
                 {"heads", {{"before", p.heads_before}, {"after", p.heads_after}}},
                 {"kv_heads", {{"before", p.kv_heads_before}, {"after", p.kv_heads_after}}},
                 {"channels", {{"before", p.channels_before}, {"after", p.channels_after}}},
                 {"tokens", {{"before", p.tokens_before}, {"after", p.tokens_after}}},
                 {"blocks", {{"before", p.blocks_before}, {"after", p.blocks_after}}},
                 {"equal_bytes", p.equal_bytes},
                 {"layers", p.layers},
                 {"head_scores", ordered_json::array()},
                 {"block_scores", units_json(p.blocks)}};
  for (const auto& layer : p.heads) j["head_scores"].push_back(units_json(layer));
  if (p.mask.empty()) return j;
  j["mask"] = p.mask;
  for (const ZerosOfSite& site : p.zeros) j["zeros"].push_back({{"site", site.name}, {"share", site.share}});
  return j;
}

ordered_json budget_json(const BudgetReport& b) {
  ordered_json j{{"asked", b.budget},
                 {"weight_bytes", b.budget_bytes},
                 {"weight_bytes_taken", b.bytes},
                 {"predicted_kl", b.kl},
                 {"kl_per_byte", budget_price(b)}};
  for (const SizePoint& p : b.curve) j["curve"].push_back({{"bytes", p.bytes}, {"predicted_kl", p.kl}});
  for (const NamedSizePoint& p : b.uniform)
    j["uniform"].push_back({{"scheme", p.name}, {"bytes", p.point.bytes}, {"predicted_kl", p.point.kl}});
  for (const SiteChoice& s : b.sites) {
    ordered_json site{{"name", s.site}, {"chosen", form_json(s.chosen)}};
    if (s.smaller) site["smaller"] = form_json(*s.smaller);
    if (s.larger) site["larger"] = form_json(*s.larger);
    j["sites"].push_back(std::move(site));
  }
  return j;
}

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
    j["perplexity_standard_error"] = row.quality.perplexity_standard_error;
    add_divergence(j, *row.quality.divergence);
  }
  if (row.latency) {
    add_speeds(j, *row.latency);
    j["peak_rss_bytes"] = row.peak_rss_bytes;
  }
  if (row.calibration_kl) j["calibration_kl_mean"] = *row.calibration_kl;
  for (const TaskScore& task : row.tasks) j["tasks"].push_back(task_json(task, nullptr));
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
                          {"dead_columns", s.dead_columns},
                          {"last_quarter_change", s.last_quarter_change}});
  if (row.budget) j["budget"] = budget_json(*row.budget);
  if (row.tuning) j["tuning"] = tuning_json(*row.tuning);
  return j;
}

}  // namespace

std::string latency_json(const Latency& l, const ModelFacts& facts) {
  ordered_json j = facts_json(facts);
  j["threads"] = l.threads;
  j["bytes_per_token"] = l.bytes_per_token;
  add_speeds(j, l);
  return j.dump(2);
}

std::string throughput_json(const std::vector<Throughput>& throughput, const ModelFacts& facts) {
  ordered_json j = facts_json(facts);
  for (const Throughput& t : throughput)
    j["throughput"].push_back({{"sequences", t.sequences},
                               {"prefill_tokens_per_second", t.prefill_tokens_per_second},
                               {"decode_tokens_per_second", t.decode_tokens_per_second},
                               {"step_ms_p50", t.step_ms_p50},
                               {"pool_bytes", t.pool_bytes}});
  return j.dump(2);
}

std::string evaluation_json(const Evaluation& e, const ModelFacts& facts) {
  ordered_json j = facts_json(facts);
  if (e.text) add_quality(j, *e.text);
  if (e.text) j["calibrated_on_text"] = e.calibrated_on_text;
  if (e.tasks.empty()) return j.dump(2);
  for (size_t i = 0; i < e.tasks.size(); ++i)
    j["tasks"].push_back(task_json(e.tasks[i], e.reference_tasks.empty() ? nullptr : &e.reference_tasks[i]));
  if (e.tasks.size() == 1) {
    ordered_json only = j["tasks"][0];
    only.erase("task");
    j.update(only);
  }
  return j.dump(2);
}

MeasuredLatency parse_latency_json(std::string_view text) {
  try {
    const auto j = nlohmann::json::parse(text);
    MeasuredLatency m;
    m.facts = {.model = j.at("model"),
               .isa = j.at("isa"),
               .file_bytes = j.at("file_bytes"),
               .weight_bytes = j.at("weight_bytes"),
               .kv_bytes_per_token = j.at("kv_bytes_per_token"),
               .bits_per_weight = j.at("bits_per_weight"),
               .peak_rss_bytes = j.at("peak_rss_bytes")};
    m.latency = {.prompt_tokens = j.at("prompt_tokens"),
                 .tokens = j.at("tokens"),
                 .prefill_tokens_per_second = j.at("prefill_tokens_per_second"),
                 .decode_tokens_per_second = j.at("decode_tokens_per_second"),
                 .first_token_ms = j.at("first_token_ms"),
                 .token_ms_p50 = j.at("token_ms_p50"),
                 .token_ms_p99 = j.at("token_ms_p99"),
                 .bytes_per_token = j.at("bytes_per_token"),
                 .decode_bytes_per_second = j.at("decode_bytes_per_second"),
                 .read_bandwidth = j.at("read_bandwidth"),
                 .prefill_multiplies_per_second = j.value("prefill_multiplies_per_second", 0.0),
                 .int8_peak = j.value("int8_peak", 0.0),
                 .threads = j.at("threads")};
    return m;
  } catch (const nlohmann::json::exception& e) {
    throw Error(fmt::format("the measuring process printed something else than its JSON: {}", e.what()));
  }
}

std::vector<std::string> calibration_hashes(std::string_view provenance) {
  std::vector<std::string> hashes;
  const auto j = nlohmann::json::parse(provenance, nullptr, /*allow_exceptions=*/false);
  const auto texts = j.is_object() && j.contains("calibration") && j["calibration"].is_object()
                         ? j["calibration"].value("texts", nlohmann::json::array())
                         : nlohmann::json::array();
  for (const auto& text : texts)
    if (text.is_object() && text.contains("corpus_hash") && text["corpus_hash"].is_string())
      hashes.push_back(text["corpus_hash"]);
  return hashes;
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
                 {"reference", r.reference},
                 {"corpus", r.corpus},
                 {"corpus_hash", r.corpus_hash},
                 {"calibrated_share", r.calibrated_share},
                 {"calibration", r.calibration},
                 {"calibration_hash", r.calibration_hash},
                 {"calibration_windows", r.calibration_windows},
                 {"calibration_tokens", r.calibration_tokens},
                 {"tokenizer_hash", r.tokenizer_hash},
                 {"context", r.context},
                 {"protocol", protocol_lines(r)},
                 {"prompt", r.prompt},
                 {"continuation", r.continuation}};
  if (r.pruning) j["pruning"] = pruning_json(*r.pruning);
  if (r.healing) j["healing"] = ordered_json::parse(train_json(*r.healing));
  for (const ReportRow& row : r.rows) j["rows"].push_back(row_json(row));
  // A continuation may end inside a character.
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "recipe/prove.h"

namespace edgeq {
namespace {

ReportRow base_row(const std::string& name, const std::string& file, const ModelFacts& facts,
                   const MeasureLatency& measure) {
  ReportRow row{.name = name, .file = file};
  row.file_bytes = facts.file_bytes;
  row.weight_bytes = facts.weight_bytes;
  row.kv_bytes_per_token = facts.kv_bytes_per_token;
  row.bits_per_weight = facts.bits_per_weight;
  if (measure) {
    const MeasuredLatency measured = measure(file);
    row.latency = measured.latency;
    row.peak_rss_bytes = measured.facts.peak_rss_bytes;
  }
  return row;
}

}  // namespace

ReportRow prove(const ProofSubject& subject, const LanguageModel& reference, const Windows& windows,
                const MeasureLatency& measure, const Progress& progress) {
  ReportRow row = base_row(subject.name, subject.file, subject.facts, measure);
  row.quality = measure_text_quality(subject.model, &reference, windows, progress);
  row.seconds = subject.seconds;
  row.sites = subject.sites;
  return row;
}

ReportRow reference_row(const std::string& name, const std::string& file, const ModelFacts& facts,
                        const TextQuality& beside, const MeasureLatency& measure) {
  ReportRow row = base_row(name, file, facts, measure);
  row.quality.windows = beside.windows;
  row.quality.window_tokens = beside.window_tokens;
  row.quality.predictions = beside.predictions;
  row.quality.perplexity = beside.reference_perplexity;
  row.quality.perplexity_all = beside.reference_perplexity_all;
  return row;
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "recipe/prove.h"

namespace edgeq {
namespace {

ReportRow base_row(const ProofSubject& subject, std::span<const Task> tasks, const MeasureLatency& measure,
                   const Progress& progress) {
  ReportRow row{.name = subject.name, .file = subject.file};
  row.file_bytes = subject.facts.file_bytes;
  row.weight_bytes = subject.facts.weight_bytes;
  row.kv_bytes_per_token = subject.facts.kv_bytes_per_token;
  row.bits_per_weight = subject.facts.bits_per_weight;
  row.seconds = subject.seconds;
  row.sites = subject.sites;
  row.budget = subject.budget;
  row.tuning = subject.tuning;
  if (measure) {
    const MeasuredLatency measured = measure(subject.file);
    row.latency = measured.latency;
    row.peak_rss_bytes = measured.facts.peak_rss_bytes;
  }
  for (const Task& task : tasks) row.tasks.push_back(score_task(subject.model, task, progress));
  return row;
}

}  // namespace

ReportRow prove(const ProofSubject& subject, const LanguageModel& reference, const ProofTexts& texts,
                const MeasureLatency& measure, const Progress& progress) {
  ReportRow row = base_row(subject, texts.tasks, measure, progress);
  row.quality = measure_text_quality(subject.model, &reference, texts.windows, progress);
  if (texts.calibration.count() != 0)
    row.calibration_kl =
        measure_text_quality(subject.model, &reference, texts.calibration, progress).divergence->kl_mean;
  return row;
}

ReportRow reference_row(const ProofSubject& reference, const TextQuality& beside, std::span<const Task> tasks,
                        const MeasureLatency& measure, const Progress& progress) {
  ReportRow row = base_row(reference, tasks, measure, progress);
  row.quality.windows = beside.windows;
  row.quality.window_tokens = beside.window_tokens;
  row.quality.predictions = beside.predictions;
  row.quality.perplexity = beside.reference_perplexity;
  row.quality.perplexity_all = beside.reference_perplexity_all;
  return row;
}

}  // namespace edgeq

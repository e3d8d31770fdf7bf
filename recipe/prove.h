// SPDX-License-Identifier: Apache-2.0
// Two engines and a text -> what the compression cost.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/progress.h"
#include "eval/json.h"
#include "eval/report.h"
#include "models/corpus.h"
#include "models/language_model.h"

namespace edgeq {

// One model to prove: how its row is called and where its file is.
struct ProofSubject {
  std::string name, file;
  const LanguageModel& model;
  ModelFacts facts;    // file bytes, weight bytes, bits per weight
  double seconds = 0;  // what making it took
  std::vector<SiteReport> sites;
  std::optional<BudgetReport> budget;
  std::optional<TuneReport> tuning;
};

// Speed and memory of a model file, measured in a process of its own.
using MeasureLatency = std::function<MeasuredLatency(const std::string& file)>;

// What is proved on: windows that are scored, tasks, and some windows that were calibrated on (or none).
struct ProofTexts {
  const Windows& windows;
  std::span<const Task> tasks;
  const Windows& calibration;
};

// The row of `subject`, with its divergence from `reference`. Latency is left out when `measure` is empty.
ReportRow prove(const ProofSubject& subject, const LanguageModel& reference, const ProofTexts& texts,
                const MeasureLatency& measure, const Progress& progress);

// The reference's own row: its perplexity was measured beside a subject's.
ReportRow reference_row(const ProofSubject& reference, const TextQuality& beside, std::span<const Task> tasks,
                        const MeasureLatency& measure, const Progress& progress);

}  // namespace edgeq

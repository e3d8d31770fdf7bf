// SPDX-License-Identifier: Apache-2.0
// One recipe applied to one model: plan -> choose under the budget -> compress -> tune -> write. Resumable:
// what an interrupted run finished is kept in
// "<output>.work" and used by the next run of the same recipe on the same model and text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "eval/budget_report.h"
#include "eval/report.h"
#include "formats/output_file.h"
#include "models/blockwise_model.h"
#include "models/gradients.h"
#include "models/import.h"
#include "recipe/calibrate.h"
#include "recipe/plan.h"
#include "recipe/ship.h"
#include "recipe/tune.h"

namespace edgeq {

struct QuantizeInputs {
  const Checkpoint& checkpoint;
  const BlockwiseModel& model;
  const Calibration* calibration = nullptr;  // required when the plan needs statistics
  const BackwardModel* backward = nullptr;   // required when the plan needs gradients
  std::string output;
  OutputFile::Existing existing = OutputFile::Existing::refuse;
  RunCheck run = {};        // of the file before it gets its name
  OnTuneStep on_step = {};  // of a plan that tunes
};

struct QuantizeOutcome {
  int64_t file_bytes = 0;
  double seconds = 0;
  double bits_per_weight = 0;
  std::vector<SiteReport> sites;
  std::optional<BudgetReport> budget;  // what was chosen and why, when there was a choice
  std::optional<TuneReport> tuning;    // of a plan that tunes
  std::vector<std::string> notes;      // what the target has no place for
};

// Throws Error; an interrupted or failed run leaves the finished parts for the next one and nothing under the
// output's name.
QuantizeOutcome quantize_model(const Plan& plan, const QuantizeInputs& in, const Progress& progress);

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// The proof of one `edgeq prune`: what was written against the float model, beside the same cuts without
// healing, without compensation, and beside what quantizing to the same bytes costs; with the map of scores,
// as three report files.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/progress_bar.h"
#include "cli/proof.h"
#include "models/import.h"
#include "recipe/calibrate.h"
#include "recipe/pruned_model.h"

namespace edgeq {

// What was cut and why, as reports show it, but for `equal_bytes`. before: the config of the whole model.
PruneReport prune_report(const PruneSpec& spec, const ModelConfig& before, const Cuts& cuts);

struct PruneProof {
  const PruneSpec& spec;
  std::shared_ptr<const Checkpoint> checkpoint;  // with all of its layers, its vocabulary cut already
  const ModelConfig& before;                     // of the whole model
  const Calibration* calibration = nullptr;
  std::shared_ptr<const PrunedModel> cut;
  std::optional<TrainReport> healing;  // of what was written; not set: that is the cut
  std::string output, target;
  double seconds = 0;
  const ProofMaterial* material = nullptr;  // null: nothing is measured
  bool json = false;
  int threads = 0;
};

// Prints the table (or the JSON) to stdout and, when there is something to measure on, writes
// <output>.report.{json,md,html}.
void prove_pruned(const PruneProof& job, ProgressBar& bar);

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// The proof of one `edgeq quantize`: every file it wrote against the float model, as a table and three report
// files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/open_model.h"
#include "cli/progress_bar.h"
#include "eval/report.h"
#include "eval/tasks.h"
#include "models/corpus.h"
#include "models/import.h"
#include "recipe/calibrate.h"
#include "recipe/recipe.h"

namespace edgeq {

// What a proof reads, before there is anything to prove: what is missing or does not fit shows at once.
struct ProofMaterial {
  ProofSpec spec;  // its measured prompt as long as the model's context leaves it
  Corpus corpus;
  Windows windows;
  std::vector<Task> tasks;
};

// spec: with a corpus. Throws Error for a text or task that cannot be read or is too short, windows longer
// than the context, and a measured generation that leaves no room for a prompt.
ProofMaterial prepare_proof(const ProofSpec& spec, const Checkpoint& checkpoint);

struct ProofFile {
  std::string title, path;
  double seconds = 0;
  std::vector<SiteReport> sites;
  std::optional<BudgetReport> budget;
  std::optional<TuneReport> tuning;
};

// What a stage before quantizing left, which no file holds.
struct ProofStage {
  std::string title;  // "pruned"
  std::shared_ptr<const Checkpoint> checkpoint;
  double seconds = 0;
};

struct ProofJob {
  const Recipe& recipe;  // the main one
  const ProofMaterial& material;
  std::shared_ptr<const Checkpoint> checkpoint;
  const Calibration* calibration = nullptr;
  const std::vector<ProofStage>& stages;
  const std::vector<ProofFile>& files;  // the main result last
  std::optional<PruneReport> pruning;
  std::optional<TrainReport> healing;
  std::shared_ptr<const Checkpoint> trimmed;  // the reference, where the vocabulary was cut
  bool json = false;
  int threads = 0;
};

// A report of this build on this machine, on a text, before anything is measured.
Report blank_report(const Corpus& corpus, const OpenModel& reference, int64_t context);

// What was calibrated on, and how much of it the scored windows share.
void describe_calibration(const Calibration& calibration, const Windows& scored, Report& report);

// Writes <stem>.{json,md,html}, over older ones.
void write_report(const Report& report, const std::string& stem);

// Prints the table (or the JSON) to stdout and writes <output>.report.{json,md,html}.
void prove_files(const ProofJob& job, ProgressBar& bar);

}  // namespace edgeq

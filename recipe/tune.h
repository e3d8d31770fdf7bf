// SPDX-License-Identifier: Apache-2.0
// What is left to gain once the codes are fixed: the floats beside them, trained end to end against the float
// model. Codes are frozen; scales, offsets and norms (recipe/factors.h) follow Adam down
//   mean over tokens of KL(float model || compressed model)
// on windows of the calibration text that nothing was calibrated on: codes fit those that they were chosen
// on, where a few windows hide most of the divergence. The last are held out: there the floats as they would
// be stored are measured, the best are kept, and training ends when they get no better, so that what ships is
// never worse on them than what was there before. One block is in memory at a time, forward and back; of the
// windows of a step the residual stream before each block, from which the block is computed again on the way
// back. The float model's last residual stream is computed once for each window, its logits a few tokens at a
// time. As F6 of MLX's DWQ (KL against the float model) and the second phase of EfficientQAT (arXiv
// 2407.11062).
#pragma once

#include <functional>
#include <string>

#include "core/progress.h"
#include "eval/tune_report.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"
#include "models/gradients.h"
#include "recipe/journal.h"
#include "recipe/plan.h"

namespace edgeq {

struct TuneInputs {
  const Plan& plan;  // decided, with a tuning
  const BlockwiseModel& model;
  const BackwardModel& backward;
  const Windows& windows;  // as many as the tuning asks for
};

// After each step, for people.
struct TuneProgress {
  int64_t step = 0, steps = 0;
  float kl = 0, heldout_kl = 0;  // of the step's windows; the best so far
  double tokens_per_second = 0;
};
using OnTuneStep = std::function<void(const TuneProgress&)>;

// The journal holds every part of the plan. What tuning made of a part is put beside it, and the training's
// state after each step, so that an interrupted run goes on where it was. Deterministic for any number of
// threads, and whether or not it was interrupted.
TuneReport tune(const TuneInputs& in, Journal& journal, const Progress& progress,
                const OnTuneStep& on_step = {});

// The name of what ships of a part: "tuned.layers.3" where tuning left one, else its own.
std::string shipped_part(const Journal& journal, const std::string& part);

}  // namespace edgeq

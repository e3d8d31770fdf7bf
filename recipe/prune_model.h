// SPDX-License-Identifier: Apache-2.0
// One model pruned: what is in the journal of the pruning, as a model. Resumable: what an interrupted run
// finished is kept there.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/progress.h"
#include "models/target.h"
#include "recipe/calibrate.h"
#include "recipe/pruned_model.h"

namespace edgeq {

struct PruneJob {
  PruneSpec spec;
  std::shared_ptr<const Checkpoint> checkpoint;
  const BlockwiseModel& model;
  const BackwardModel* backward = nullptr;
  const Calibration* calibration = nullptr;  // where prune_needs_text()
};

// Of edgeq's targets the float folder whose type the checkpoint's weights have: "f32", "f16" or "bf16".
std::string float_target_of(const Checkpoint& checkpoint);
// The targets that a pruned model can be written as: a folder, or a GGUF file, of that type, where layers
// differ a GGUF file, whose keys may be arrays. Throws Error for any other name; "": the checkpoint's type.
std::shared_ptr<const Target> pruned_target(const PruneSpec& spec, const Checkpoint& checkpoint,
                                            std::string_view name);

// The spec with shares in the place of its budget, if it has one. target: a name of
// pruned_target(), of whose type bytes are. Throws Error when the budget cannot be met.
PruneSpec within_budget(const PruneSpec& spec, const ModelConfig& config, std::string_view target);

// Throws Error when no config of a folder describes what would be left, where it has to.
void require_config(const PruneSpec& spec, const ModelConfig& config);

// The journal of a pruning in `folder`, and the pruned model in it once prune() has run on it.
Journal prune_journal(const PruneJob& job, const std::string& folder);
std::shared_ptr<const PrunedModel> prune_into(const PruneJob& job, Journal& journal,
                                              const Progress& progress);

}  // namespace edgeq

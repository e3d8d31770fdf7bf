// SPDX-License-Identifier: Apache-2.0
// Pruning, by itself or as the stage of a recipe: the checkpoint that what follows then reads. Nothing is
// written in between: the pruned blocks stay in the stage's journal until all is done, so that a killed run
// goes on.
#pragma once

#include <memory>
#include <string>

#include "core/progress.h"
#include "models/import.h"
#include "recipe/calibrate.h"
#include "recipe/journal.h"
#include "recipe/prune_spec.h"
#include "recipe/pruned_model.h"

namespace edgeq {

// Of the shapes that pruning will leave, for planning. Throws Error for a spec that cannot be.
std::shared_ptr<const Checkpoint> planned_checkpoint(const PruneSpec& spec,
                                                     const std::shared_ptr<const Checkpoint>& checkpoint);

class PruneStage {
 public:
  // Prunes, or takes up what the folder holds. calibration: where prune_needs_text().
  PruneStage(const PruneSpec& spec, const std::shared_ptr<const Checkpoint>& checkpoint,
             const Calibration* calibration, const std::string& folder, const Progress& progress);

  const std::shared_ptr<const Checkpoint>& checkpoint() const { return pruned_; }
  const std::shared_ptr<const PrunedModel>& model() const { return model_; }  // the same
  double seconds() const { return seconds_; }
  void remove_journal() { journal_->remove(); }

 private:
  std::unique_ptr<Journal> journal_;
  std::shared_ptr<const PrunedModel> model_;
  std::shared_ptr<const Checkpoint> pruned_;
  double seconds_ = 0;
};

}  // namespace edgeq

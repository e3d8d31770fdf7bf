// SPDX-License-Identifier: Apache-2.0
// Healing, a stage of recipes and of `edgeq prune`: what was pruned is trained after the model that it was
// cut from. Nothing is written in between: the training's folder holds its last state until all is done.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/progress_bar.h"
#include "recipe/distill_model.h"

namespace edgeq {

// To be called before threads start: tensors of a hundred megabytes come and go with every sequence, and
// given back each time they would be new pages, zeroed one by one by the kernel (a third of the time of a
// training).
void keep_freed_memory();

// Loss and speed beside the bar, after each step; the bar has to outlive it.
std::function<void(const TrainReport&)> show_steps(ProgressBar& bar);

class HealStage {
 public:
  // Reads the data, of the calibration texts where the spec names none. Throws Error when it cannot be had,
  // or when they are no files.
  HealStage(TrainingSpec spec, const std::vector<std::string>& calibration,
            std::shared_ptr<const Checkpoint> teacher, std::string folder);

  const Dataset& data() const { return data_; }

  // Trains, or takes up what the folder holds.
  Distilled run(const std::shared_ptr<const Checkpoint>& cut, ProgressBar& bar) const;
  void remove_folder() const;

 private:
  TrainingSpec spec_;
  std::shared_ptr<const Checkpoint> teacher_;
  std::string folder_;
  Dataset data_;
};

}  // namespace edgeq

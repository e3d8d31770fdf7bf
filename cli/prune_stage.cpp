// SPDX-License-Identifier: Apache-2.0
#include "cli/prune_stage.h"

#include "cli/engines.h"
#include "core/timer.h"
#include "models/checkpoint_blocks.h"
#include "models/coded_checkpoint.h"
#include "recipe/prune_model.h"

namespace edgeq {

std::shared_ptr<const Checkpoint> planned_checkpoint(const PruneSpec& spec,
                                                     const std::shared_ptr<const Checkpoint>& checkpoint) {
  return as_checkpoint(std::make_shared<PrunedModel>(checkpoint, plan_cuts(spec, checkpoint->config())));
}

PruneStage::PruneStage(const PruneSpec& spec, const std::shared_ptr<const Checkpoint>& checkpoint,
                       const Calibration* calibration, const std::string& folder, const Progress& progress) {
  const Timer timer;
  const auto model = prune_needs_text(spec) ? open_blockwise(checkpoint) : open_checkpoint_blocks(checkpoint);
  const auto backward = prune_needs_gradients(spec) ? open_backward(checkpoint->config()) : nullptr;
  const PruneJob job{.spec = spec,
                     .checkpoint = checkpoint,
                     .model = *model,
                     .backward = backward.get(),
                     .calibration = calibration};
  journal_ = std::make_unique<Journal>(prune_journal(job, folder));
  model_ = prune_into(job, *journal_, progress);
  pruned_ = as_checkpoint(model_);
  seconds_ = timer.seconds();
}

}  // namespace edgeq

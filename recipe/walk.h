// SPDX-License-Identifier: Apache-2.0
// All calibration windows walking through a model in step, in parallel over windows.
#pragma once

#include <string>
#include <vector>

#include "calibration/stats.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"

namespace edgeq {

class Walk {
 public:
  // The windows enter the model at its embedding table.
  Walk(const BlockwiseModel& model, const Windows& windows, const Ends& ends);

  void enter(const Block& block);
  void step(const Block& block, int stage);
  void pass(const Block& block);  // enter and all steps
  void finish(const Ends& ends);
  // Of the inputs that the current stage reads, over all windows in order.
  InputStats stats(unsigned needs) const;

 private:
  const BlockwiseModel& model_;
  std::vector<State> states_;
};

std::string stage_name(const Block& block, int stage);  // "layers.3.qkv"

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// What is to be pruned, and how: the stage `prune:` of a recipe and the options of `edgeq prune`.
#pragma once

#include <cstdint>
#include <string>

#include "pruning/compensate.h"
#include "pruning/structure.h"

namespace edgeq {

struct PruneSpec {
  CutShares shares;
  std::string score = "obs";              // of heads and channels (pruning/score.h)
  std::string block_score = "influence";  // of blocks
  bool compensate = true;                 // readers make up for what they lost (pruning/compensate.h)
  Compensation compensation;
};

}  // namespace edgeq

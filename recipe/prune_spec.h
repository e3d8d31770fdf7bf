// SPDX-License-Identifier: Apache-2.0
// What is to be pruned, and how: the stage `prune:` of a recipe and the options of `edgeq prune`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pruning/compensate.h"
#include "pruning/mask.h"
#include "pruning/size.h"
#include "pruning/structure.h"
#include "pruning/vocabulary.h"

namespace edgeq {

// Zeros in the layers' matrices, in what is left after units are cut.
struct MaskSpec {
  std::string method = "sparsegpt";  // pruning/mask.h
  Sparsity sparsity;
};

// Shares that are found, so that the model fits (pruning/size.h).
struct PruneBudget {
  SizeLimit limit;
  std::vector<UnitKind> of;  // empty: of heads and channels what has no share and what a config can say
};

struct PruneSpec {
  CutShares shares;
  bool per_layer = false;             // shares.heads is of all layers together, which keep different numbers
                                      // (recipe/spread_heads.h)
  std::optional<PruneBudget> budget;  // until within_budget() has found them
  std::optional<MaskSpec> mask;
  std::optional<VocabularyCut> vocab;     // before all else (recipe/trimmed_model.h)
  std::string score = "obs";              // of heads and channels (pruning/score.h)
  std::string block_score = "influence";  // of blocks
  bool compensate = true;                 // readers make up for what they lost (pruning/compensate.h)
  Compensation compensation;
};

}  // namespace edgeq

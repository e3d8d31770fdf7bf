// SPDX-License-Identifier: Apache-2.0
// Which units of a layer stay, by a score (pruning/score.h).
#pragma once

#include <vector>

#include "models/config.h"
#include "pruning/score.h"
#include "pruning/structure.h"

namespace edgeq {

// What was chosen, and what the choice was made by.
struct Choice {
  Kept kept;                   // heads and kv_heads, or channels
  std::vector<double> scores;  // [units]
};

// The heads of the highest scores, [heads], that the shape `after` has room for: every KV head that stays
// keeps its best query heads, and those stay whose kept query heads are worth most together. Ties stay in
// order.
Kept best_heads(const std::vector<double>& scores, const LayerShape& before, const LayerShape& after);

// By the score: best_heads(), or one after another where the score says so.
Choice choose_heads(const ScoreEntry& score, const UnitFacts& facts, const LayerShape& before,
                    const LayerShape& after);
Choice choose_channels(const ScoreEntry& score, const UnitFacts& facts, int64_t channels);

}  // namespace edgeq

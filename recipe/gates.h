// SPDX-License-Identifier: Apache-2.0
// Gradients of a loss at gates on all heads, channels and blocks of a float model, from one pass back: a gate
// multiplies what its unit adds to the outputs of its reader, or a block to the residual stream.
#pragma once

#include <vector>

#include "core/progress.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"
#include "models/gradients.h"
#include "pruning/score.h"
#include "recipe/journal.h"

namespace edgeq {

struct BlockGates {
  GateMoments heads, channels, block;  // block: of one unit
};

// [block]. At most kSensitivityWindows of the windows are used. What the journal holds as the part "gates" is
// not measured again. Deterministic for any number of threads.
std::vector<BlockGates> measure_gates(const BlockwiseModel& model, const BackwardModel& backward,
                                      const Windows& windows, Loss loss, Journal& journal,
                                      const Progress& progress);

}  // namespace edgeq

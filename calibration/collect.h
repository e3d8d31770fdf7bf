// SPDX-License-Identifier: Apache-2.0
// Walks a float model over the calibration windows and returns the statistics of one stage's input.
#pragma once

#include <span>

#include "calibration/stats.h"
#include "models/blockwise_model.h"

namespace edgeq {

// Statistics of `state.input` of all states, in order.
InputStats stage_stats(std::span<const State> states, unsigned needs);

}  // namespace edgeq

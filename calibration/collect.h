// SPDX-License-Identifier: Apache-2.0
// The statistics of one stage's input over all calibration windows, from the states of a walk.
#pragma once

#include <span>

#include "calibration/stats.h"
#include "models/blockwise_model.h"

namespace edgeq {

// Statistics of `state.input` of all states, in order. Throws Error when there are none.
InputStats stage_stats(std::span<const State> states, unsigned needs);

}  // namespace edgeq

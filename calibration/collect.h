// SPDX-License-Identifier: Apache-2.0
// The statistics of one stage's input over all calibration windows, from the states of a walk.
#pragma once

#include <span>

#include "calibration/observer.h"
#include "calibration/stats.h"
#include "models/blockwise_model.h"

namespace edgeq {

// Statistics of `state.input` of all states, in order. Throws Error when there are none.
InputStats stage_stats(std::span<const State> states, unsigned needs);

// The static scale of `state.input` of all states.
float stage_scale(std::span<const State> states, Observer observer);

// The moments of (float model's value - value of `states`) with `state.input`, on the same windows: of what
// the stage reads, and of the residual stream that its outputs may be added to.
Tensor input_cross_moment(std::span<const State> reference, std::span<const State> states);
Tensor hidden_cross_moment(std::span<const State> reference, std::span<const State> states);
// The means of these differences.
Tensor input_drift(std::span<const State> reference, std::span<const State> states);
Tensor hidden_drift(std::span<const State> reference, std::span<const State> states);

}  // namespace edgeq

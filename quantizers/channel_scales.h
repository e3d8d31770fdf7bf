// SPDX-License-Identifier: Apache-2.0
// What transforms that rescale channels (models/folds.h) have in common.
#pragma once

#include <vector>

#include "calibration/stats.h"
#include "models/folds.h"

namespace edgeq {

// Of each channel of a fold: the largest input, the square mean of its inputs, the largest weight that reads
// it. [channels]
std::vector<double> input_maxima(const Fold& fold, const InputStats& stats);
std::vector<double> input_squares(const Fold& fold, const InputStats& stats);
std::vector<double> weight_maxima(const Fold& fold, const Block& block);

// Scales in the proportions asked for, with a geometric mean of 1 and none further from it than a factor of
// kMaxChannelScale. A channel that asks for 0 or infinity, because it is dead, gets 1.
inline constexpr double kMaxChannelScale = 4096;
std::vector<float> channel_scales(const std::vector<double>& wishes);

// Throws Error naming the site of the first weight that is NaN or infinite.
void require_finite_block(const Block& block);

}  // namespace edgeq

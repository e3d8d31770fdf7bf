// SPDX-License-Identifier: Apache-2.0
// Running what was written: the last step of every export, and of `edgeq verify`.
#pragma once

#include <optional>
#include <string>

#include "eval/perplexity.h"
#include "models/import.h"

namespace edgeq {

// Mean KL divergence up to which an export is the same function: the weights are equal numbers, and what is
// left is the rounding of two orders of summation (measured below 1e-9).
inline constexpr double kSameFunctionKl = 1e-6;

// Quality of `file` beside `reference` on a short passage that is built in, both in float. Throws Error when
// a passage gives too few tokens.
TextQuality compare_on_passage(const Checkpoint& file, const Checkpoint& reference, int threads);

// Why two models of this size are not run in float: they would take more than a check may (2 GiB). nullopt
// when they fit.
std::optional<std::string> run_check_obstacle(const ModelConfig& config);

}  // namespace edgeq

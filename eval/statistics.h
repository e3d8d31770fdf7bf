// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

namespace edgeq {

double median(std::vector<double> values);  // of at least one
double mean(std::span<const double> values);
// Of the mean: sqrt(sum (v - mean)^2 / (n - 1) / n); 0 for fewer than two values.
double standard_error(std::span<const double> values);

}  // namespace edgeq

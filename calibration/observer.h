// SPDX-License-Identifier: Apache-2.0
// Static activation scales: one number for all values that a layer input takes, chosen from calibration text
// before the model runs. What it clips and how coarsely it rounds the rest is the observer's choice:
//   minmax      scale = max|x| / 127: nothing is clipped
//   percentile  |x| of 99.99 % of the values / 127
//   entropy     the threshold T whose clipped distribution of |x| is closest, in KL, to itself on 128 levels
//               (TensorRT; Migacz, "8-bit inference with TensorRT", GTC 2017); scale = T / 127
//   mse         the threshold with the least mean (x - rounded x)^2; scale = T / 127
// All but minmax work on a histogram of |x| in 4096 bins up to max|x|.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"

namespace edgeq {

enum class Observer : uint8_t { minmax, percentile, entropy, mse };

std::string_view observer_text(Observer observer);  // the enumerator's name
Observer parse_observer(std::string_view text);     // throws Error for any other text

// windows: rows of the same input. The result is positive and finite; 1/127 for an input that is always zero.
// Throws Error when there are no values or one is not finite (it names the column).
float observe_scale(std::span<const MatrixView<const float>> windows, Observer observer);

}  // namespace edgeq

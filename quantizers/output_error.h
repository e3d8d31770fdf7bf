// SPDX-License-Identifier: Apache-2.0
// The error that a candidate weight makes at a layer's output, from the Hessian alone.
#pragma once

#include "calibration/stats.h"
#include "core/tensor.h"

namespace edgeq {

struct OutputError {
  double squared = 0;   // mean over tokens of |(W - Q) x|^2 = tr(D H D^T)
  double relative = 0;  // squared / mean |W x|^2; 0 when both are 0
};

// Without a Hessian only its diagonal (mean x^2) is used: an approximation that ignores correlation.
OutputError output_error(MatrixView<const float> weight, MatrixView<const float> candidate,
                         const InputStats& stats);

}  // namespace edgeq

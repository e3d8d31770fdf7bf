// SPDX-License-Identifier: Apache-2.0
// What calibration knows about the input of a stage: the rows x_1..x_N that its sites read over all windows.
// When the float model walks beside the compressed one, x is what the compressed predecessors produce, and
// the cross moments say how far that is from the float model's own input X and residual stream R.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace edgeq {

// What a quantizer reads. Nothing unneeded is collected; with no needs at all the model is not walked.
enum Need : unsigned {
  kNeedNothing = 0,
  kNeedMoments = 1u << 0,  // abs_max, mean, square_mean: cheap, collected in every walk
  kNeedHessian = 1u << 1,
  kNeedCross = 1u << 2,  // cross and residual: needs the float model's walk beside the compressed one's
  kNeedDrift = 1u << 3,  // drift and residual_drift, beside kNeedCross
};

struct InputStats {
  int64_t tokens = 0;  // N
  Tensor abs_max;      // [d] max |x_j|
  Tensor mean;         // [d] mean x_j
  Tensor square_mean;  // [d] mean x_j^2
  Tensor hessian;      // [d, d] mean x x^T (symmetric, undamped), or empty when not needed
  Tensor cross;        // [d, d] mean (X - x) x^T, or empty with one stream
  Tensor residual;     // [out, d] mean (R - r) x^T for sites that add to the residual stream r, else empty
  Tensor drift, residual_drift;  // [d] mean X - x, [out] mean R - r (kNeedDrift), else empty
  // How far the mean squares still moved with the last quarter of the windows: sum_j |m_j - m'_j| / sum_j
  // m_j, m' over the first three quarters. 0 with fewer than four windows, and for statistics from a cache.
  double last_quarter_change = 0;

  int64_t width() const { return abs_max.size(); }
};

}  // namespace edgeq

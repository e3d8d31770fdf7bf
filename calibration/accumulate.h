// SPDX-License-Identifier: Apache-2.0
// Rows of activations -> InputStats. The order of sums is fixed by the order of add() calls alone, so results
// do not depend on the number of threads.
#pragma once

#include <span>

#include "calibration/stats.h"
#include "core/tensor.h"

namespace edgeq {

class StatsAccumulator {
 public:
  // width: columns d of the inputs; needs: Need flags.
  StatsAccumulator(int64_t width, unsigned needs);

  // Adds windows in the order given; each is [tokens, d]. Parallel inside (over tiles of the Hessian, each
  // tile summing the windows in order), on parallel_for's threads with one BLAS thread each.
  void add(std::span<const MatrixView<const float>> windows);
  // Divides by the number of rows seen. Throws Error when none were, or when a statistic is not finite.
  InputStats finish();

 private:
  int64_t width_;
  unsigned needs_;
  InputStats sum_;
};

}  // namespace edgeq

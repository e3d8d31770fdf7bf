// SPDX-License-Identifier: Apache-2.0
// Rows of activations -> InputStats. The order of sums is fixed by the order of windows alone, so results do
// not depend on the number of threads, nor on how the windows are spread over calls of add().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibration/stats.h"
#include "core/tensor.h"

namespace edgeq {

class StatsAccumulator {
 public:
  // width: columns d of the inputs; needs: Need flags.
  StatsAccumulator(int64_t width, unsigned needs);

  // Adds windows in the order given; each is [tokens, d]. Parallel inside: over tiles of the Hessian, each
  // summing the windows in order, on parallel_for's threads with one BLAS thread each.
  void add(std::span<const MatrixView<const float>> windows);

  // [d] mean x_j^2 over the rows added so far, at least one.
  std::vector<double> square_means() const;

  // Divides by the number of rows seen; called once, at the end. Throws Error when none were, or when a
  // statistic is not finite (it names the column).
  InputStats finish();

 private:
  void add_moments(std::span<const MatrixView<const float>> windows);
  void add_products(std::span<const MatrixView<const float>> windows);

  int64_t width_;
  int64_t tokens_ = 0;
  std::vector<float> abs_max_;              // [d]
  std::vector<double> sums_, square_sums_;  // [d]
  Tensor products_;                         // upper tiles of sum x x^T [d, d], or empty
};

// mean over all rows of (a - b) x^T: [width of a, width of x]. Windows belong together, each [tokens, width].
// The sums are taken in the order of the windows, whatever the number of threads. Throws Error when there are
// no rows or the result is not finite (it names the column of x).
Tensor cross_moment(std::span<const MatrixView<const float>> a, std::span<const MatrixView<const float>> b,
                    std::span<const MatrixView<const float>> x);

}  // namespace edgeq

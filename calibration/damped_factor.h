// SPDX-License-Identifier: Apache-2.0
// A damped second moment, factored once, and least squares with it: what rounding, correction and pruning
// share. With H' = H + damping * mean(diag H) * I = L L^T, the weight that is least away from a target at the
// outputs of inputs with second moment H solves D H' = B for each row.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace edgeq {

// H', rows and columns in some order, factored.
struct DampedFactor {
  std::vector<double> lower;  // L [d, d]; what lies above the diagonal means nothing
  double shift = 0;           // what was added to the diagonal
  double damping = 0;         // as used
  int raises = 0;
};

// Of a second moment's diagonal, what damping is relative to. 1 when every column is dead: any positive
// diagonal serves then.
double mean_diagonal(MatrixView<const float> hessian);

// hessian [d, d] symmetric; order[k] = its row and column that come k-th. When H' cannot be factored,
// `damping` is raised tenfold until it can. Throws Error when even 10 times the mean diagonal does not help
// (then H is not a second moment).
DampedFactor factor_damped(MatrixView<const float> hessian, std::span<const int64_t> order, double damping);
// The same in the order of the columns.
DampedFactor factor_damped(MatrixView<const float> hessian, double damping);

// rows [count, d]: rows H'^-1 in place, by two triangular solves from the right, on the calling thread. Under
// OneBlasThread when several threads do it at once.
void solve_from_right(const DampedFactor& factor, MatrixView<double> rows);

// What a weight W that reads inputs with these second moments has to move by to bring its outputs nearest to
// others: (W C + share * R) H'^-1, where C [d, k] is the moment of what its inputs lack with the inputs, and
// R [out, k], or empty, that of what its outputs lack.
struct Lack {
  const Tensor& inputs;   // C
  const Tensor& outputs;  // R
  double share = 1;       // of R
};

// Calls use(first, steps [count, k]) for some rows of W [out, d] after others, several at once. The same for
// any number of threads.
void for_each_step(MatrixView<const float> weight, const Lack& lack, const DampedFactor& factor,
                   const std::function<void(int64_t first, MatrixView<const double> steps)>& use);

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// How the rounding error of one column is made up for by the columns after it: the factor behind GPTQ, and
// the order in which columns are rounded. With H' = H + damping * mean(diag H) * I in rounding order,
//   H'^-1 = U^T U,  U upper triangular.
// Rounding column j by an error e costs (e / U_jj)^2 after the columns behind it have moved by
// -(e / U_jj) U[j, j+1:].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibration/damped_factor.h"
#include "core/tensor.h"

namespace edgeq {

enum class ColumnOrder : uint8_t {
  none,   // as stored
  group,  // groups by their largest diagonal entry of H, and inside a group likewise: the columns that matter
          // most are rounded first, and a group stays together, so that no index of groups is needed at run
          // time; super-blocks of groups likewise
};

struct Feedback {
  std::vector<int64_t> order;   // order[k] = the column that is rounded k-th
  Tensor upper;                 // U [d, d] f32 in that order; zeros below the diagonal
  std::vector<float> diagonal;  // of H' in that order
  std::vector<bool> dead;       // [d] as stored: H_jj is 0, the column's weights do not matter
  double damping = 0;           // as used, relative to the mean of H's diagonal
  int damping_raises = 0;
};

// Columns that share a scale, and columns (whole groups) that are rounded one after another because they
// share an outer scale; `together` divides d.
struct GroupSpans {
  int64_t group, together;
};

// columns [d, d] -> order.
std::vector<int64_t> column_order(MatrixView<const float> hessian, GroupSpans groups, ColumnOrder order);

// hessian [d, d] symmetric; damping as in factor_damped.
Feedback make_feedback(MatrixView<const float> hessian, GroupSpans groups, ColumnOrder order, double damping);

}  // namespace edgeq

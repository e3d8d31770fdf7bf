// SPDX-License-Identifier: Apache-2.0
#include "quantizers/feedback.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "quantizers/cholesky.h"

namespace edgeq {
namespace {

constexpr double kSmallestRaise = 1e-6, kLargestDamping = 10;

// The lower triangle of H' with rows and columns in reverse rounding order. With J the reversal, J H' J = L
// L^T gives H'^-1 = (J L^-1 J)^T (J L^-1 J), and J L^-1 J is the upper triangular U: no inverse of H' is
// formed.
void fill_reversed(MatrixView<const float> hessian, const std::vector<int64_t>& order, double shift,
                   MatrixView<double> out) {
  const int64_t d = out.rows;
  parallel_for(
      d,
      [&](int64_t i) {
        const float* row = hessian.row(order[size_t(d - 1 - i)]);
        for (int64_t j = 0; j <= i; ++j) out(i, j) = double(row[order[size_t(d - 1 - j)]]);
        out(i, i) += shift;
      },
      16);
}

Tensor reversed_to_upper(MatrixView<const double> lower) {
  const int64_t d = lower.rows;
  Tensor upper(DType::f32, {d, d});
  parallel_for(
      d,
      [&](int64_t i) {
        float* row = upper.f32() + i * d;
        for (int64_t j = i; j < d; ++j) row[j] = float(lower(d - 1 - i, d - 1 - j));
      },
      16);
  return upper;
}

}  // namespace

std::vector<int64_t> column_order(MatrixView<const float> hessian, int64_t group, ColumnOrder order) {
  const int64_t d = hessian.cols;
  std::vector<int64_t> columns(size_t(d), 0);
  std::iota(columns.begin(), columns.end(), int64_t(0));
  if (order == ColumnOrder::none) return columns;

  const auto larger = [&](int64_t a, int64_t b) { return hessian(a, a) > hessian(b, b); };
  for (auto first = columns.begin(); first != columns.end(); first += group)
    std::stable_sort(first, first + group, larger);
  std::vector<int64_t> groups(size_t(d / group), 0);
  std::iota(groups.begin(), groups.end(), int64_t(0));
  std::stable_sort(groups.begin(), groups.end(), [&](int64_t a, int64_t b) {
    return larger(columns[size_t(a * group)], columns[size_t(b * group)]);
  });
  std::vector<int64_t> ordered;
  ordered.reserve(columns.size());
  for (int64_t g : groups)
    ordered.insert(ordered.end(), columns.begin() + g * group, columns.begin() + (g + 1) * group);
  return ordered;
}

Feedback make_feedback(MatrixView<const float> hessian, int64_t group, ColumnOrder order, double damping) {
  const int64_t d = hessian.rows;
  EDGEQ_CHECK(hessian.cols == d && d % group == 0, "a square Hessian in whole groups");
  Feedback f;
  f.order = column_order(hessian, group, order);
  f.damping = damping;

  double mean = 0;
  for (int64_t j = 0; j < d; ++j) {
    f.dead.push_back(hessian(j, j) == 0);
    mean += double(hessian(j, j)) / double(d);
  }
  if (mean == 0) mean = 1;  // every column is dead: any positive diagonal serves

  std::vector<double> storage(size_t(d * d));
  const MatrixView<double> work(storage.data(), d, d);
  for (;;) {
    fill_reversed(hessian, f.order, f.damping * mean, work);
    if (cholesky(work)) break;
    if (f.damping >= kLargestDamping)
      throw Error(fmt::format("the second moment of the inputs is not positive definite even with damping {}",
                              f.damping));
    f.damping = std::clamp(f.damping * 10, kSmallestRaise, kLargestDamping);
    ++f.damping_raises;
  }
  invert_lower(work);
  f.upper = reversed_to_upper(work);
  for (int64_t column : f.order)
    f.diagonal.push_back(float(double(hessian(column, column)) + f.damping * mean));
  return f;
}

}  // namespace edgeq

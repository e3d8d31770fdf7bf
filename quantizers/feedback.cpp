// SPDX-License-Identifier: Apache-2.0
#include "quantizers/feedback.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "calibration/cholesky.h"
#include "core/error.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

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

// Sorts, within each `span` of columns, runs of `run` columns by their first ones; runs stay as they are.
template <class Less>
void sort_runs(std::vector<int64_t>& columns, int64_t run, int64_t span, Less less) {
  const std::vector<int64_t> before = columns;
  std::vector<int64_t> starts(size_t(span / run), 0);
  for (auto first = before.begin(); first != before.end(); first += span) {
    for (size_t i = 0; i < starts.size(); ++i) starts[i] = int64_t(i) * run;
    std::stable_sort(starts.begin(), starts.end(),
                     [&](int64_t a, int64_t b) { return less(first[a], first[b]); });
    auto to = columns.begin() + (first - before.begin());
    for (const int64_t start : starts) to = std::copy_n(first + start, run, to);
  }
}

}  // namespace

std::vector<int64_t> column_order(MatrixView<const float> hessian, GroupSpans groups, ColumnOrder order) {
  const int64_t d = hessian.cols;
  std::vector<int64_t> columns(size_t(d), 0);
  std::iota(columns.begin(), columns.end(), int64_t(0));
  if (order == ColumnOrder::none) return columns;
  const auto larger = [&](int64_t a, int64_t b) { return hessian(a, a) > hessian(b, b); };
  sort_runs(columns, 1, groups.group, larger);
  sort_runs(columns, groups.group, groups.together, larger);
  sort_runs(columns, groups.together, d, larger);
  return columns;
}

Feedback make_feedback(MatrixView<const float> hessian, GroupSpans groups, ColumnOrder order,
                       double damping) {
  const int64_t d = hessian.rows;
  EDGEQ_CHECK(hessian.cols == d && d % groups.together == 0, "a square Hessian in whole groups");
  Feedback f;
  f.order = column_order(hessian, groups, order);
  const std::vector<int64_t> reversed(f.order.rbegin(), f.order.rend());
  DampedFactor factor = factor_damped(hessian, reversed, damping);
  f.damping = factor.damping;
  f.damping_raises = factor.raises;
  const MatrixView<double> work(factor.lower.data(), d, d);
  invert_lower(work);
  f.upper = reversed_to_upper(work);
  for (int64_t column : f.order) f.diagonal.push_back(float(double(hessian(column, column)) + factor.shift));
  for (int64_t j = 0; j < d; ++j) f.dead.push_back(hessian(j, j) == 0);
  return f;
}

}  // namespace edgeq

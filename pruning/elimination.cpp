// SPDX-License-Identifier: Apache-2.0
#include "pruning/elimination.h"

#include <cblas.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "calibration/blas.h"
#include "calibration/cholesky.h"
#include "calibration/damped_factor.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr double kDamping = 0.01;
constexpr int64_t kRows = 64;  // of one task

// The lower factor of V_uu. False when what is left of it is no longer positive, because nothing is known of
// these columns beyond the others.
bool factor_unit(std::span<const double> inverse, int64_t d, int64_t first, std::span<double> factor,
                 int64_t width) {
  for (int64_t i = 0; i < width; ++i)
    for (int64_t j = 0; j < width; ++j)
      factor[size_t(i * width + j)] = inverse[size_t((first + i) * d + first + j)];
  return cholesky(MatrixView<double>(factor.data(), width, width));
}

}  // namespace

Elimination::Elimination(MatrixView<const float> weight, MatrixView<const float> hessian, int64_t width)
    : rows_(weight.rows), cols_(weight.cols), width_(width), gone_(size_t(weight.cols / width), false) {
  EDGEQ_CHECK(hessian.rows == cols_ && cols_ % width == 0, "whole units of the columns");
  for (int64_t r = 0; r < rows_; ++r) weight_.insert(weight_.end(), weight.row(r), weight.row(r) + cols_);
  DampedFactor factor = factor_damped(hessian, kDamping);
  const MatrixView<double> lower(factor.lower.data(), cols_, cols_);
  invert_lower(lower);
  for (int64_t i = 0; i < cols_; ++i) std::fill(lower.row(i) + i + 1, lower.row(i) + cols_, 0.0);
  inverse_.resize(size_t(cols_ * cols_));
  const OneBlasThread one_blas_thread;
  // V = L^-T L^-1, in panels of rows.
  parallel_for((cols_ + kRows - 1) / kRows, [&](int64_t task) {
    const int64_t first = task * kRows, count = std::min(kRows, cols_ - first);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, int(count), int(cols_), int(cols_), 1,
                factor.lower.data() + first, int(cols_), factor.lower.data(), int(cols_), 0,
                inverse_.data() + first * cols_, int(cols_));
  });
}

std::vector<double> Elimination::costs() const {
  std::vector<double> costs(gone_.size(), std::numeric_limits<double>::infinity());
  const OneBlasThread one_blas_thread;
  parallel_for(std::ssize(costs), [&](int64_t u) {
    if (gone_[size_t(u)]) return;
    const int64_t first = u * width_;
    std::vector<double> factor(size_t(width_ * width_)), part(size_t(rows_ * width_));
    if (!factor_unit(inverse_, cols_, first, factor, width_)) {
      costs[size_t(u)] = 0;
      return;
    }
    for (int64_t r = 0; r < rows_; ++r)
      std::copy_n(weight_.data() + r * cols_ + first, width_, part.data() + r * width_);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, int(rows_), int(width_), 1,
                factor.data(), int(width_), part.data(), int(width_));
    costs[size_t(u)] = std::inner_product(part.begin(), part.end(), part.begin(), 0.0);
  });
  return costs;
}

void Elimination::remove(int64_t unit) {
  const int64_t first = unit * width_;
  gone_[size_t(unit)] = true;
  std::vector<double> factor(size_t(width_ * width_)), rows(size_t(width_ * cols_));
  const OneBlasThread one_blas_thread;
  if (factor_unit(inverse_, cols_, first, factor, width_)) {
    // rows = [V_uu]^-1 V_u,:
    std::copy_n(inverse_.data() + first * cols_, width_ * cols_, rows.data());
    for (const CBLAS_TRANSPOSE transpose : {CblasNoTrans, CblasTrans})
      cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, transpose, CblasNonUnit, int(width_), int(cols_), 1,
                  factor.data(), int(width_), rows.data(), int(cols_));
    const auto subtract = [&](std::vector<double>& matrix, int64_t height) {
      parallel_for((height + kRows - 1) / kRows, [&](int64_t task) {
        const int64_t top = task * kRows, count = std::min(kRows, height - top);
        std::vector<double> left(size_t(count * width_));  // a copy: these columns change too
        for (int64_t r = 0; r < count; ++r)
          std::copy_n(matrix.data() + (top + r) * cols_ + first, width_, left.data() + r * width_);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(count), int(cols_), int(width_), -1,
                    left.data(), int(width_), rows.data(), int(cols_), 1, matrix.data() + top * cols_,
                    int(cols_));
      });
    };
    subtract(weight_, rows_);
    subtract(inverse_, cols_);
  }
}

std::vector<int64_t> Elimination::remove_least(int64_t go, int64_t batch,
                                               const std::function<bool(int64_t)>& may_go) {
  std::vector<int64_t> removed;
  while (std::ssize(removed) < go) {
    check_interrupt();
    const std::vector<double> now = costs();
    std::vector<int64_t> order(now.size());
    std::iota(order.begin(), order.end(), int64_t(0));
    std::ranges::stable_sort(order, {}, [&](int64_t u) { return now[size_t(u)]; });
    int64_t taken = 0;
    for (const int64_t u : order) {
      if (taken == batch || std::ssize(removed) == go) break;
      if (gone_[size_t(u)] || !may_go(u)) continue;
      remove(u);
      removed.push_back(u);
      ++taken;
    }
    EDGEQ_CHECK(taken > 0, "as many units may go as are to go");
  }
  return removed;
}

}  // namespace edgeq

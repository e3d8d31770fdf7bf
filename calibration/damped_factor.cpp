// SPDX-License-Identifier: Apache-2.0
#include "calibration/damped_factor.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "calibration/blas.h"
#include "calibration/cholesky.h"
#include "core/error.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 64;  // of one task
constexpr double kSmallestRaise = 1e-6, kLargestDamping = 10;

void fill_lower(MatrixView<const float> hessian, std::span<const int64_t> order, double shift,
                MatrixView<double> out) {
  parallel_for(
      out.rows,
      [&](int64_t i) {
        const float* row = hessian.row(order[size_t(i)]);
        for (int64_t j = 0; j <= i; ++j) out(i, j) = double(row[order[size_t(j)]]);
        out(i, i) += shift;
      },
      16);
}

}  // namespace

double mean_diagonal(MatrixView<const float> hessian) {
  double mean = 0;
  for (int64_t j = 0; j < hessian.rows; ++j) mean += double(hessian(j, j)) / double(hessian.rows);
  return mean == 0 ? 1 : mean;
}

DampedFactor factor_damped(MatrixView<const float> hessian, std::span<const int64_t> order, double damping) {
  const int64_t d = hessian.rows;
  EDGEQ_CHECK(hessian.cols == d && int64_t(order.size()) == d, "a square Hessian and all its columns");
  const double mean = mean_diagonal(hessian);
  DampedFactor factor{.lower = std::vector<double>(size_t(d * d)), .damping = damping};
  const MatrixView<double> work(factor.lower.data(), d, d);
  for (;;) {
    factor.shift = factor.damping * mean;
    fill_lower(hessian, order, factor.shift, work);
    if (cholesky(work)) return factor;
    if (factor.damping >= kLargestDamping)
      throw Error(fmt::format("the second moment of the inputs is not positive definite even with damping {}",
                              factor.damping));
    factor.damping = std::clamp(factor.damping * 10, kSmallestRaise, kLargestDamping);
    ++factor.raises;
  }
}

DampedFactor factor_damped(MatrixView<const float> hessian, double damping) {
  std::vector<int64_t> order(size_t(hessian.rows), 0);
  std::iota(order.begin(), order.end(), int64_t(0));
  return factor_damped(hessian, order, damping);
}

void solve_from_right(const DampedFactor& factor, MatrixView<double> rows) {
  for (const CBLAS_TRANSPOSE transpose : {CblasTrans, CblasNoTrans})
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, transpose, CblasNonUnit, int(rows.rows),
                int(rows.cols), 1, factor.lower.data(), int(rows.cols), rows.data, int(rows.stride));
}

void for_each_step(MatrixView<const float> weight, const Lack& lack, const DampedFactor& factor,
                   const std::function<void(int64_t first, MatrixView<const double> steps)>& use) {
  const int64_t d = weight.cols, k = lack.inputs.cols();
  const OneBlasThread one_blas_thread;
  parallel_for((weight.rows + kRows - 1) / kRows, [&](int64_t task) {
    const int64_t first = task * kRows, count = std::min(kRows, weight.rows - first);
    std::vector<float> product(size_t(count * k));
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(count), int(k), int(d), 1, weight.row(first),
                int(weight.stride), lack.inputs.f32(), int(k), 0, product.data(), int(k));
    std::vector<double> storage(product.begin(), product.end());
    const MatrixView<double> steps(storage.data(), count, k);
    if (!lack.outputs.empty())
      for (int64_t r = 0; r < count; ++r)
        for (int64_t c = 0; c < k; ++c)
          steps(r, c) += lack.share * double(lack.outputs.matrix()(first + r, c));
    solve_from_right(factor, steps);
    use(first, steps);
  });
}

}  // namespace edgeq

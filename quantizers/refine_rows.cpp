// SPDX-License-Identifier: Apache-2.0
#include "quantizers/refine_rows.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/parallel.h"
#include "quantizers/feedback.h"
#include "quantizers/refiner.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 64;  // of one task

Tensor damped_hessian(const Tensor& hessian) {
  Tensor damped = hessian;
  const auto h = damped.matrix();
  const double shift = kRefineDamping * mean_diagonal(hessian.matrix());
  for (int64_t j = 0; j < h.rows; ++j) h(j, j) = float(double(h(j, j)) + shift);
  return damped;
}

// Up to kRows rows of a weight: what their codes mean, how far that is off, and what it costs.
class RowBlock {
 public:
  RowBlock(const QuantizedTensor& q, MatrixView<const float> target, MatrixView<const float> damped,
           int64_t first)
      : damped_(damped),
        target_(target.slice_rows(first, std::min(kRows, target.rows - first))),
        values_(size_t(kRows * q.cols)),
        differences_(size_t(kRows * q.cols)),
        gradients_(size_t(kRows * q.cols)) {
    std::vector<uint8_t> codes(size_t(q.cols));
    for (int64_t r = 0; r < target_.rows; ++r) dequantize_row(q, first + r, codes, row(values_, r).data());
    measure();
  }

  int64_t rows() const { return target_.rows; }
  std::span<float> values(int64_t r) { return row(values_, r); }
  std::span<float> gradient(int64_t r) { return row(gradients_, r); }
  double error(int64_t r) const { return errors_[size_t(r)]; }

 private:
  std::span<float> row(std::vector<float>& of, int64_t r) const {
    return std::span(of).subspan(size_t(r * target_.cols), size_t(target_.cols));
  }

  // Every product has kRows rows, so that a row's result does not depend on its neighbours.
  void measure() {
    const int64_t d = target_.cols;
    for (int64_t r = 0; r < rows(); ++r)
      for (int64_t c = 0; c < d; ++c)
        differences_[size_t(r * d + c)] = target_(r, c) - values_[size_t(r * d + c)];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(kRows), int(d), int(d), 1, differences_.data(),
                int(d), damped_.data, int(damped_.stride), 0, gradients_.data(), int(d));
    for (int64_t r = 0; r < rows(); ++r) {
      double error = 0;
      for (int64_t c = r * d; c < (r + 1) * d; ++c)
        error += double(differences_[size_t(c)]) * double(gradients_[size_t(c)]);
      errors_.push_back(error);
    }
  }

  MatrixView<const float> damped_, target_;
  std::vector<float> values_, differences_, gradients_;
  std::vector<double> errors_;
};

// Rows [first, first + kRows) of `q`, refined; their errors decide which are taken.
void refine_block(QuantizedTensor& q, MatrixView<const float> target, MatrixView<const float> damped,
                  const RefineRow& refine, int64_t first) {
  RowBlock before(q, target, damped, first);
  std::vector<int64_t> rows(size_t(before.rows()), 0);
  std::iota(rows.begin(), rows.end(), first);
  QuantizedTensor candidate = select_rows(q, rows);
  for (int64_t r = 0; r < before.rows(); ++r) {
    RefinedRow row{.values = before.values(r),
                   .gradient = before.gradient(r),
                   .codes = std::vector<uint8_t>(size_t(q.cols)),
                   .grids = {}};
    candidate.get_codes(r, row.codes);
    for (int64_t g = 0; g < q.groups(); ++g) row.grids.push_back(get_grid(candidate, r, g));
    refine(q.scheme, damped, row);
    candidate.set_codes(r, row.codes);
    for (int64_t g = 0; g < q.groups(); ++g) set_grid(candidate, r, g, row.grids[size_t(g)]);
  }
  const RowBlock after(candidate, target.slice_rows(first, before.rows()), damped, 0);
  std::vector<uint8_t> codes(size_t(q.cols));
  for (int64_t r = 0; r < before.rows(); ++r) {
    if (!(after.error(r) < before.error(r))) continue;
    candidate.get_codes(r, codes);
    q.set_codes(first + r, codes);
    for (int64_t g = 0; g < q.groups(); ++g) set_grid(q, first + r, g, get_grid(candidate, r, g));
  }
}

}  // namespace

void refine_rows(QuantizedTensor& q, MatrixView<const float> target, const InputStats& stats,
                 const RefineRow& refine) {
  EDGEQ_CHECK(q.rows == target.rows && q.cols == target.cols, "codes and target belong together");
  if (stats.hessian.empty() || stats.width() != q.cols)
    throw Error(fmt::format("a refiner has statistics of {} inputs{}; expected {} with a hessian",
                            stats.width(), stats.hessian.empty() ? " without a hessian" : "", q.cols));
  const Tensor damped = damped_hessian(stats.hessian);
  const OneBlasThread one_blas_thread;
  parallel_for((q.rows + kRows - 1) / kRows,
               [&](int64_t task) { refine_block(q, target, damped.matrix(), refine, task * kRows); });
}

}  // namespace edgeq

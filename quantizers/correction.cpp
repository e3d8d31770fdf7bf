// SPDX-License-Identifier: Apache-2.0
#include "quantizers/correction.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "calibration/blas.h"
#include "calibration/damped_factor.h"
#include "core/error.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 64;  // of one task

}  // namespace

Correction make_correction(const Options& options) {
  Correction correction;
  correction.strength = options.number("strength", correction.strength, 0, 1);
  correction.damping = options.number("damp", correction.damping, 0, 1);
  correction.residual = options.boolean("residual", correction.residual);
  with_context("correct", [&] { options.finish(); });
  return correction;
}

std::string correction_text(const Correction& correction) {
  return fmt::format("corrected {}", correction.strength);
}

CorrectedWeight correct_weight(MatrixView<const float> weight, const InputStats& stats,
                               const Correction& correction) {
  const int64_t d = weight.cols;
  if (stats.hessian.empty() || stats.cross.empty() || stats.width() != d)
    throw Error(fmt::format("a correction has statistics of {} inputs{}; expected {} with cross moments",
                            stats.width(), stats.cross.empty() ? " without cross moments" : "", d));
  const bool residual = correction.residual && !stats.residual.empty();
  EDGEQ_CHECK(!residual || stats.residual.rows() == weight.rows, "a residual moment of the site's outputs");
  const DampedFactor factor = factor_damped(stats.hessian.matrix(), correction.damping);

  CorrectedWeight result{.target = Tensor(DType::f32, {weight.rows, d}),
                         .damping = factor.damping,
                         .damping_raises = factor.raises};
  const OneBlasThread one_blas_thread;
  parallel_for((weight.rows + kRows - 1) / kRows, [&](int64_t task) {
    const int64_t first = task * kRows, count = std::min(kRows, weight.rows - first);
    const auto w = weight.slice_rows(first, count);
    const auto out = result.target.matrix().slice_rows(first, count);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(count), int(d), int(d), 1, w.data,
                int(w.stride), stats.cross.f32(), int(d), 0, out.data, int(out.stride));
    std::vector<double> storage(size_t(count * d));
    const MatrixView<double> rows(storage.data(), count, d);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < d; ++c) {
        rows(r, c) = double(out(r, c));
        if (residual) rows(r, c) += double(stats.residual.matrix()(first + r, c));
      }
    solve_from_right(factor, rows);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < d; ++c) out(r, c) = float(double(w(r, c)) + correction.strength * rows(r, c));
  });
  return result;
}

}  // namespace edgeq

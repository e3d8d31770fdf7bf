// SPDX-License-Identifier: Apache-2.0
#include "quantizers/correction.h"

#include <fmt/format.h>

#include "calibration/damped_factor.h"
#include "core/error.h"

namespace edgeq {

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
  const Tensor none;
  const Lack lack{.inputs = stats.cross, .outputs = residual ? stats.residual : none};
  for_each_step(weight, lack, factor, [&](int64_t first, MatrixView<const double> steps) {
    for (int64_t r = 0; r < steps.rows; ++r)
      for (int64_t c = 0; c < d; ++c)
        result.target.matrix()(first + r, c) =
            float(double(weight(first + r, c)) + correction.strength * steps(r, c));
  });
  return result;
}

}  // namespace edgeq

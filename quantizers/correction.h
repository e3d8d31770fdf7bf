// SPDX-License-Identifier: Apache-2.0
// What the weight of a site should be once its predecessors are compressed. They produce x instead of the
// float model's X, and for a site whose output is added to the residual stream, r instead of R. The error at
// the output, E |W X + R - Q x - r|^2, is least for Q equal to
//   W* = W + [W E((X-x) x^T) + E((R-r) x^T)] H'^-1        H' = H + damping * mean(diag H) * I,  H = E(x x^T)
// and differs from E |(W* - Q) x|^2 by a constant: any rounding to (W*, H) rounds for the true error. W* is
// as uncertain as few tokens make it, so that a part of the way is better than all of it:
//   target = W + strength * (W* - W)
// As asymmetric calibration (GPTAQ, arXiv 2504.02692) and Qronos (arXiv 2505.11695), solved once for any
// rounding; the residual stream as in LoaQ (arXiv 2509.06297).
#pragma once

#include <string>

#include "calibration/stats.h"
#include "core/options.h"
#include "core/tensor.h"

namespace edgeq {

struct Correction {
  double strength = 0.5;  // 0..1
  double damping = 0.01;  // 0..1, of the mean diagonal; raised when it does not suffice
  bool residual = true;   // also make up for the residual stream, where the site adds to it
};

// Options strength, damp and residual. Throws Error for another name or a value out of range.
Correction make_correction(const Options& options);
std::string correction_text(const Correction& correction);  // "corrected 0.5"

struct CorrectedWeight {
  Tensor target;  // [out, in]
  double damping = 0;
  int damping_raises = 0;
};

// weight [out, in]; stats with hessian and cross, and with residual [out, in] when the site adds to the
// residual stream. Deterministic for any number of threads.
CorrectedWeight correct_weight(MatrixView<const float> weight, const InputStats& stats,
                               const Correction& correction);

}  // namespace edgeq

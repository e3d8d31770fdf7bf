// SPDX-License-Identifier: Apache-2.0
// A refiner improves codes or scales that a quantizer found; the scheme stays. Stateless, const, no input or
// output; thread-safe. It may only lower the error at the outputs, row by row, against the target that was
// rounded:
//   tr(D H' D^T),  D = target - value of the codes,  H' = H + kRefineDamping * mean(diag H) * I
// A row whose error would not fall stays as it is.
#pragma once

#include "calibration/stats.h"
#include "core/quantized_tensor.h"

namespace edgeq {

inline constexpr double kRefineDamping = 0.01;

class Refiner {
 public:
  virtual ~Refiner() = default;
  // q: codes of `target` [out, in]; stats of its input, with hessian. Throws Error when it is missing.
  virtual void refine(QuantizedTensor& q, MatrixView<const float> target, const InputStats& stats) const = 0;
};

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// Quantization inside training: the weight that the network multiplies is the one that will be stored, and
// gradients pass through the rounding as if it were not there (straight-through; Bengio et al., arXiv
// 1308.3432). With step s of a group, offset o and v = (w - o) / s,
//   w' = s level(v) + o,   dw'/dw = 1 inside the grid and 0 outside,
//   dw'/ds = level(v) - (v inside the grid, else 0)          (learned step size, LSQ: arXiv 1902.08153)
// where level(v) is the nearest of the levels less the zero point. Steps are moved by factors, s = s0 (1 +
// f), so that one rate serves all of them, and rounded to their store on every pass: what is trained against
// is what ships. LSQ's 1 / sqrt(n q) on the step's gradient is left out, since AdamW divides by its size
// anyway.
#pragma once

#include <ATen/ATen.h>

#include "core/quantized_tensor.h"

namespace edgeq {

class FakeQuant {
 public:
  // From codes that a quantizer chose: its grid, its steps. Throws Error for scales in super-blocks, whose
  // steps are no floats of their own.
  explicit FakeQuant(QuantizedTensor start);

  const QuantScheme& scheme() const { return start_.scheme; }
  // What is trained beside the weight: [rows, groups] factors, or [rows, 1] of outer scales where a group's
  // scale is a code (s8).
  at::Tensor initial_factors() const;

  // weight [rows, cols]: as it is stored, differentiable in both.
  at::Tensor operator()(const at::Tensor& weight, const at::Tensor& factors) const;
  // Its codes; dequantized they are what operator() gives, bit for bit.
  QuantizedTensor codes(const at::Tensor& weight, const at::Tensor& factors) const;

 private:
  at::Tensor scales(const at::Tensor& factors) const;                          // [rows, groups, 1], as stored
  at::Tensor steps(const at::Tensor& weight, const at::Tensor& scales) const;  // v, [rows, groups, group]
  at::Tensor levels(const at::Tensor& steps) const;  // the nearest, less the zero point

  QuantizedTensor start_;       // all but its codes
  at::Tensor base_;             // [rows, groups, 1]: scales, or their codes under
  at::Tensor outer_;            // [rows, 1, 1]: two-level stores
  at::Tensor zeros_, offsets_;  // [rows, groups, 1]
  at::Tensor low_, high_;       // of a level less the zero point, [rows, groups, 1]
};

}  // namespace edgeq

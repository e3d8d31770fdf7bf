// SPDX-License-Identifier: Apache-2.0
// The weight of a reader, some of whose inputs are gone, that makes up for them with those that are left. Let
// X be what the reader saw in the float model, R the residual stream its output is added to, and x (fewer
// columns), r the same in the pruned model, whose earlier blocks have been cut already. The error at the
// output, E |W X + R - W' x - r|^2, is least for
//   W' = W_K + [W E((X - x~) x^T) + E((R - r) x^T)] H'^-1      H' = H + damping * mean(diag H) * I,  H = E x
//   x^T
// where W_K are the columns that are left and x~ is x with zeros in the place of the others. Nothing but the
// quantizers' correction (quantizers/correction.h) with an x that has lost columns. With a bias, moments are
// taken about the means, and the bias makes up for the means.
#pragma once

#include <cstdint>
#include <span>

#include "calibration/stats.h"
#include "models/block.h"

namespace edgeq {

struct Compensation {
  double damping = 0.01;  // 0..1, of the mean diagonal; raised when it does not suffice
  double residual = 1;    // 0..1: how much of the residual stream's drift is made up for as well
};

struct CompensationNotes {
  double damping = 0;
  int raises = 0;
};

// site.weight [out, d] becomes [out, k]: the columns `kept`, compensated; its bias, where it has one,
// follows. inputs: of all d columns as the pruned model has them before these go, with hessian and cross, and
// with residual where the site adds to the residual stream. Deterministic for any number of threads.
CompensationNotes compensate(Site& site, std::span<const int64_t> kept, const InputStats& inputs,
                             const Compensation& how);

}  // namespace edgeq

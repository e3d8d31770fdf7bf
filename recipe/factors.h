// SPDX-License-Identifier: Apache-2.0
// The floats of a finished part as numbers that can be trained: codes stay, and each stored float s of a
// scale becomes s (1 + p), each offset o becomes o + u q, each norm gain g becomes g (1 + p); all p and q
// begin at 0. What is moved is what the file stores:
//   flat stores        the scale of each group, or one factor for all scales of a row
//   two-level stores   the outer scales, codes of scales and offsets stay: no rounding lies in between
//   offsets            u is the group's scale; outer offsets move as scales do, u = o
// A weight is s (level - zero) + o, so that with the gradient G of the dense weight
//   dL/dp = sum over its groups of s sum_j G_j (level_j - zero),   dL/dq = sum over its groups of u sum_j G_j
// (as EfficientQAT's second phase, arXiv 2407.11062; for offsets the zero is not trained through).
#pragma once

#include <cstdint>
#include <span>

#include "core/quantized_tensor.h"
#include "models/gradients.h"
#include "recipe/journal.h"
#include "recipe/tuning.h"

namespace edgeq {

// How many numbers are trained of a part: its sites in order, scales before offsets, then its vectors.
int64_t factor_count(const PartResult& part, const Tuning& tuning);

enum class Stored : uint8_t {
  exact,    // as trained
  rounded,  // as the scheme's file stores it
};
// `part`, as the journal has it, moved by its factors. Factors of 0 leave every bit. What would no longer be
// finite stays as it is.
void move_by_factors(PartResult& part, std::span<const float> factors, const Tuning& tuning, Stored stored);

// dL/d(factors) from the gradients of weights and vectors. part: as the journal has it; sites: of the weights
// in the part's order, an empty one where nothing is known. Where a loss is not finite, neither is this.
void factor_gradients(const PartResult& part, std::span<const Tensor> sites, std::span<const Tensor> vectors,
                      const Tuning& tuning, std::span<float> out);

}  // namespace edgeq

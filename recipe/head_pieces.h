// SPDX-License-Identifier: Apache-2.0
// The head is applied to a few tokens at a time: logits of a whole window would be most of the memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/tensor.h"

namespace edgeq {

constexpr int64_t kHeadTokens = 64;  // whose logits are held at once

// Calls visit(first, rows) for the rows of a window's residual stream [tokens, hidden] in order, at most
// kHeadTokens at a time: a copy of rows [first, first + rows.rows()).
template <class Visit>
void for_each_head_piece(const Tensor& hidden, Visit&& visit) {
  for (int64_t first = 0; first < hidden.rows(); first += kHeadTokens) {
    Tensor rows(DType::f32, {std::min(kHeadTokens, hidden.rows() - first), hidden.cols()});
    std::copy_n(hidden.matrix().row(first), rows.size(), rows.f32());
    visit(first, std::as_const(rows));
  }
}

}  // namespace edgeq

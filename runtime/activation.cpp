// SPDX-License-Identifier: Apache-2.0
#include "runtime/activation.h"

#include <algorithm>

#include "formats/panels.h"

namespace edgeq {

ActivationBuffer::ActivationBuffer(int64_t max_tokens, int64_t max_cols)
    : stride_(round_up(max_cols, kPanelBlock)),
      values_(max_tokens * stride_),
      scales_(max_tokens * stride_ / kPanelBlock),
      codes_(max_tokens * stride_),
      sums_(max_tokens * stride_ / kPanelBlock) {}

void ActivationBuffer::quantize(const KernelTable& kernels, Activations mode, int64_t token,
                                int64_t cols) noexcept {
  const int64_t padded = round_up(cols, kPanelBlock), blocks = padded / kPanelBlock;
  std::fill(row(token) + cols, row(token) + padded, 0.0f);
  kernels.quantize_row(row(token), padded, mode == Activations::int8_token ? padded : kPanelBlock,
                       codes_.data() + token * padded, scales_.data() + token * blocks,
                       sums_.data() + token * blocks);
}

Activation ActivationBuffer::view(int64_t tokens, int64_t cols, bool with_codes) const noexcept {
  Activation x{.values = values_.data(), .stride = stride_, .tokens = tokens, .cols = cols, .codes = {}};
  if (with_codes) x.codes = {codes_.data(), scales_.data(), sums_.data(), tokens};
  return x;
}

}  // namespace edgeq

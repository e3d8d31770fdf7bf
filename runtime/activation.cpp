// SPDX-License-Identifier: Apache-2.0
#include "runtime/activation.h"

#include <algorithm>
#include <limits>

#include "formats/panels.h"

namespace edgeq {

ActivationBuffer::ActivationBuffer(int64_t max_tokens, int64_t max_cols)
    : stride_(round_up(max_cols, kPanelBlock)),
      values_(max_tokens * stride_),
      scales_(max_tokens * stride_ / kPanelBlock),
      codes_(max_tokens * stride_),
      sums_(max_tokens * stride_ / kPanelBlock) {}

namespace {

// Adding and subtracting 1.5 * 2^23 rounds numbers below 2^22 to nearest even.
constexpr float kRounder = 0x1.8p+23f;

// One block of codes on a scale that is given; as QuantizeRowKernel where a value is not finite.
float quantize_block(const float* x, float scale, float inverse, int8_t* codes, int32_t* sum) noexcept {
  float finite = 0;  // stays 0, or becomes NaN
  for (int64_t i = 0; i < kPanelBlock; ++i) finite += x[i] * 0;
  *sum = 0;
  if (finite != 0) {
    std::fill_n(codes, kPanelBlock, int8_t(0));
    return std::numeric_limits<float>::quiet_NaN();
  }
  for (int64_t i = 0; i < kPanelBlock; ++i) {
    const float clipped = std::min(std::max(x[i] * inverse, -127.0f), 127.0f);
    codes[i] = int8_t(clipped + kRounder - kRounder);
  }
  for (int64_t i = 0; i < kPanelBlock; ++i) *sum += codes[i];
  return scale;
}

}  // namespace

void ActivationBuffer::quantize(const KernelTable& kernels, Activations mode, float input_scale,
                                int64_t token, int64_t cols) noexcept {
  const int64_t padded = round_up(cols, kPanelBlock), blocks = padded / kPanelBlock;
  std::fill(row(token) + cols, row(token) + padded, 0.0f);
  if (mode == Activations::int8_static) {
    for (int64_t b = 0; b < blocks; ++b)
      scales_.data()[token * blocks + b] =
          quantize_block(row(token) + b * kPanelBlock, input_scale, 1 / input_scale,
                         codes_.data() + token * padded + b * kPanelBlock, sums_.data() + token * blocks + b);
    return;
  }
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

// SPDX-License-Identifier: Apache-2.0
#include "runtime/rope_table.h"

#include <cmath>

namespace edgeq {

RopeTable::RopeTable(const ModelConfig& config, int64_t head_dim, int64_t positions)
    : half_(head_dim / 2), frequency_(half_), cosine_(positions * half_), sine_(positions * half_) {
  for (int64_t i = 0; i < half_; ++i) {
    const double power = std::pow(config.rope_theta, 2.0 * double(i) / double(head_dim));
    const float divisor = config.rope_divisors.empty() ? 1.0f : config.rope_divisors[size_t(i)];
    frequency_.data()[i] = 1.0f / float(power) / divisor;
  }
}

void RopeTable::extend(int64_t end) noexcept {
  for (; computed_ < end; ++computed_) {
    for (int64_t i = 0; i < half_; ++i) {
      // The angle is rounded to float, as in the code that models are trained with: far into the context the
      // exact angle would be another one.
      const float angle = float(computed_) * frequency_.data()[i];
      cosine_.data()[computed_ * half_ + i] = float(std::cos(double(angle)));
      sine_.data()[computed_ * half_ + i] = float(std::sin(double(angle)));
    }
  }
}

}  // namespace edgeq

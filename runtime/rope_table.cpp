// SPDX-License-Identifier: Apache-2.0
#include "runtime/rope_table.h"

#include <cmath>
#include <utility>

namespace edgeq {

RopeTable::RopeTable(Rope rope, int64_t positions)
    : rope_(std::move(rope)),
      half_(rope_.dims / 2),
      frequency_(half_),
      cosine_(positions * half_),
      sine_(positions * half_) {
  for (int64_t i = 0; i < half_; ++i) {
    const double power = std::pow(rope_.theta, 2.0 * double(i) / double(rope_.dims));
    const float divisor = rope_.divisors.empty() ? 1.0f : rope_.divisors[size_t(i)];
    frequency_.data()[i] = 1.0f / float(power) / divisor;
  }
}

void RopeTable::extend(int64_t end) noexcept {
  for (; computed_ < end; ++computed_) {
    for (int64_t i = 0; i < half_; ++i) {
      // The angle is rounded to float, as in the code that models are trained with: far into the context the
      // exact angle would be another one.
      const float angle = float(computed_) * frequency_.data()[i];
      cosine_.data()[computed_ * half_ + i] = float(rope_.scale * std::cos(double(angle)));
      sine_.data()[computed_ * half_ + i] = float(rope_.scale * std::sin(double(angle)));
    }
  }
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "runtime/rope_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace edgeq {

RopeTable::RopeTable(Rope rope, int64_t context, int64_t positions, int64_t rows)
    : rope_(std::move(rope)),
      half_(rope_.dims / 2),
      context_(context),
      positions_(positions),
      frequency_(half_),
      cosine_((positions + rows) * half_),
      sine_((positions + rows) * half_) {
  for (int64_t i = 0; i < half_; ++i) {
    const double power = std::pow(rope_.theta, 2.0 * double(i) / double(rope_.dims));
    const float divisor = rope_.divisors.empty() ? 1.0f : rope_.divisors[size_t(i)];
    frequency_.data()[i] = 1.0f / float(power) / divisor;
  }
}

void RopeTable::compute(int64_t position, int64_t place) noexcept {
  for (int64_t i = 0; i < half_; ++i) {
    // Within the context the angle is rounded to float, as in the code that models are trained with: the
    // exact angle would be another one. Beyond it only distances count, and rounding would blur them.
    const float frequency = frequency_.data()[i];
    const double angle =
        position < context_ ? double(float(position) * frequency) : double(position) * double(frequency);
    cosine_.data()[place * half_ + i] = float(rope_.scale * std::cos(angle));
    sine_.data()[place * half_ + i] = float(rope_.scale * std::sin(angle));
  }
}

void RopeTable::prepare(int64_t position, int64_t row) noexcept {
  for (; computed_ <= std::min(position, positions_ - 1); ++computed_) compute(computed_, computed_);
  if (position >= positions_) compute(position, positions_ + row);
}

}  // namespace edgeq

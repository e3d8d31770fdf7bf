// SPDX-License-Identifier: Apache-2.0
#include "models/round_inputs.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr int64_t kBlock = 32;
constexpr float kSmallest = 0x1p-100f;

// To nearest even, for |x| below 2^22: what nearbyint does, in two instructions that vectorise.
float nearest(float x) {
  constexpr float kRounder = 0x1.8p+23f;
  return x + kRounder - kRounder;
}

void round_group(float* x, int64_t count) {
  float largest = 0, finite = 0;  // `finite` stays 0, or becomes NaN
  for (int64_t i = 0; i < count; ++i) {
    finite += x[i] * 0;
    largest = std::max(largest, std::abs(x[i]));
  }
  if (finite != 0) return;
  const float scale = largest < kSmallest ? 0 : largest / 127,
              inverse = largest < kSmallest ? 0 : 127 / largest;
  for (int64_t i = 0; i < count; ++i) x[i] = scale * nearest(x[i] * inverse);
}

}  // namespace

void round_inputs(MatrixView<float> rows, Activations activations) {
  EDGEQ_CHECK(activations != Activations::int8_static, "a static scale is given");
  if (activations == Activations::f32) return;
  const int64_t group = activations == Activations::int8_token ? rows.cols : kBlock;
  for (int64_t r = 0; r < rows.rows; ++r)
    for (int64_t c = 0; c < rows.cols; c += group)
      round_group(rows.row(r) + c, std::min(group, rows.cols - c));
}

void round_inputs(MatrixView<float> rows, float scale) {
  const float inverse = 1 / scale;
  for (int64_t r = 0; r < rows.rows; ++r)
    for (float* x = rows.row(r); x != rows.row(r) + rows.cols; ++x)
      if (std::isfinite(*x)) *x = scale * nearest(std::clamp(*x * inverse, -127.0f, 127.0f));
}

}  // namespace edgeq

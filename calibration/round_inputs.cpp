// SPDX-License-Identifier: Apache-2.0
#include "calibration/round_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace edgeq {
namespace {

constexpr std::string_view kNames[] = {"float", "int8_block", "int8_token"};  // in the order of the enum

constexpr int64_t kBlock = 32;
constexpr float kSmallest = 0x1p-100f;

void round_group(float* x, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) return;
    largest = std::max(largest, std::abs(x[i]));
  }
  const float scale = largest < kSmallest ? 0 : largest / 127,
              inverse = largest < kSmallest ? 0 : 127 / largest;
  for (int64_t i = 0; i < count; ++i) x[i] = scale * std::nearbyint(x[i] * inverse);
}

}  // namespace

Inputs parse_inputs(std::string_view text) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == text) return Inputs(i);
  throw Error(fmt::format("inputs are \"{}\"; expected float, int8_block or int8_token", text));
}

std::string_view inputs_text(Inputs inputs) { return kNames[size_t(inputs)]; }

void round_inputs(MatrixView<float> rows, Inputs inputs) {
  if (inputs == Inputs::floats) return;
  const int64_t group = inputs == Inputs::int8_token ? rows.cols : kBlock;
  for (int64_t r = 0; r < rows.rows; ++r)
    for (int64_t c = 0; c < rows.cols; c += group)
      round_group(rows.row(r) + c, std::min(group, rows.cols - c));
}

}  // namespace edgeq

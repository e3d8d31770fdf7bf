// SPDX-License-Identifier: Apache-2.0
// The level of a table that is nearest to a number, by one look-up: all midpoints between levels are whole
// halves, so that the half unit in which a number lies decides.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/quant_scheme.h"

namespace edgeq {

inline constexpr int kHalfUnits = 2 * (kIq4nlLevels.back() - kIq4nlLevels.front()) + 1;

// Codes of the levels of IQ4_NL nearest to each half unit from the first level on.
inline constexpr auto kNearestIq4nl = [] {
  std::array<uint8_t, kHalfUnits> codes{};
  int code = 0;
  for (int i = 0; i < kHalfUnits; ++i) {
    // In quarters: the middle of this half unit against the middle between two levels.
    const int x = 4 * kIq4nlLevels.front() + 2 * i + 1;
    while (code < 15 && x > 2 * (kIq4nlLevels[size_t(code)] + kIq4nlLevels[size_t(code) + 1])) ++code;
    codes[size_t(i)] = uint8_t(code);
  }
  return codes;
}();

// The levels of those codes.
inline constexpr auto kNearestIq4nlLevel = [] {
  std::array<float, kHalfUnits> levels{};
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = kIq4nlLevels[kNearestIq4nl[i]];
  return levels;
}();

// x is a number, not NaN.
inline uint8_t nearest_iq4nl(float x) {
  const float first = kIq4nlLevels.front(), last = kIq4nlLevels.back();
  return kNearestIq4nl[size_t(2 * (std::clamp(x, first, last) - first))];
}

}  // namespace edgeq

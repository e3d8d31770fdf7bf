// SPDX-License-Identifier: Apache-2.0
// The grid of one group: which values its codes can mean. Choosing it well is half of quantization, and every
// method shares this half. For weights h_j >= 0 the objective is
//   E(grid) = sum_j h_j (w_j - value(round(w_j)))^2.
// Scale, zero and offset are what the scheme's file holds: rounded to their store before any code is chosen.
// Where many groups share an outer scale it is chosen first, for all of them (choose_outer); the codes of a
// group's scale and offset then are part of its grid.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/quantized_tensor.h"
#include "quantizers/nearest_level.h"

namespace edgeq {

// w = scale * (level(code) - zero) + offset. zero is the middle code for Zero::mid (0 for a table) and 0 for
// Zero::offset; scale may be negative. A scale of 0 means that every code has the same value; then `zero` is
// the code used.
struct GroupGrid {
  float scale = 0;
  int zero = 0;
  float offset = 0;
  int8_t scale_code = 0, offset_code = 0;  // two-level stores: what scale and offset are derived from
};

// Same arithmetic as dequantize_into.
inline float code_value(const QuantScheme& scheme, const GroupGrid& grid, int code) {
  return grid.scale * float(scheme.level(code) - grid.zero) + grid.offset;
}

// The nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. Unlike
// std::nearbyint it compiles to two additions everywhere.
constexpr float kRounder = 0x1.8p23f;
inline float round_small(float x) { return (x + kRounder) - kRounder; }

// The code whose value is nearest to w (finite), within the codes that the scheme lets a quantizer use.
inline uint8_t round_to_code(const QuantScheme& scheme, const GroupGrid& grid, float w) {
  if (grid.scale == 0) return uint8_t(grid.zero);
  const float steps = (w - grid.offset) / grid.scale;
  if (scheme.levels == Levels::iq4nl) return nearest_iq4nl(steps);
  const float low = float(scheme.min_code() - grid.zero), high = float(scheme.max_code() - grid.zero);
  return uint8_t(int(round_small(std::clamp(steps, low, high))) + grid.zero);
}

enum class GridSearch : uint8_t {
  none,  // from the extremes: no value misses its code by more than half a step, except at the end of a
         // symmetric grid opposite to the largest magnitude, which is one code shorter (-8..7; a table's end
         // is 113 opposite to -127), and except for what two-level stores round a scale by
  mse,   // a sweep of scales (and zeros, or ends), each refitted in closed form; never worse than `none` in E
};

// What the groups under one outer scale share: the outer scale and, for Zero::offset, the outer offset, whose
// multiples are subtracted. Not used by flat stores.
struct OuterGrid {
  float scale = 0, offset = 0;
};

// For all columns under one outer scale, `group` to a group: the largest scale (and offset) that a group
// wants gets the largest code. head_room >= 1 leaves codes above it for groups that will have grown when
// their turn comes, as they do under error feedback.
OuterGrid choose_outer(const QuantScheme& scheme, int64_t group, std::span<const float> values,
                       std::span<const float> importance, GridSearch search, float head_room);

// The grid of one group of finite values. `importance` holds h_j, or is empty for h_j = 1; when all are 0
// they count as 1. A group that is not all zero never gets a scale of 0 because the store underflows, and
// never an infinite one because it overflows: the nearest representable scale is taken instead. `outer` is
// that of the group, for two-level stores. A zero point of Zero::integer is at least `least_zero`, 0 or 1.
GroupGrid choose_grid(const QuantScheme& scheme, std::span<const float> values,
                      std::span<const float> importance, GridSearch search, const OuterGrid& outer = {},
                      int least_zero = 0);

// E(grid) for these values, in double.
double grid_error(const QuantScheme& scheme, const GroupGrid& grid, std::span<const float> values,
                  std::span<const float> importance);

// The nearest value that a flat store or an outer scale can hold without becoming infinite or, unless `value`
// is 0, zero.
float stored_scale(float value, ScaleStore store);

// Group g of row r of a quantized tensor, and the outer scale over it.
void set_outer(QuantizedTensor& q, int64_t r, int64_t g, const OuterGrid& outer);
void set_grid(QuantizedTensor& q, int64_t r, int64_t g, const GroupGrid& grid);
GroupGrid get_grid(const QuantizedTensor& q, int64_t r, int64_t g);

}  // namespace edgeq

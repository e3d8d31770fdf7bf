// SPDX-License-Identifier: Apache-2.0
// The sweep after llama.cpp's make_qx_quants and make_qkx3_quants: try how many levels span the extremes,
// refit each trial in closed form, rank by the weighted energy that the refitted grid explains.
#include "quantizers/grid.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/half.h"

namespace edgeq {
namespace {

// Trials of a sweep; trial i spans the extremes with i/4 - 1 levels more than there are, so that it clips.
constexpr int kSweep = 19;
float extra_levels(int trial) { return -1 + 0.25f * float(trial); }

// The nearest value that the store can hold without becoming infinite or, unless `value` is 0, zero.
float stored_scale(float value, ScaleStore store) {
  const bool half = store == ScaleStore::f16;
  const float largest = half ? 65504.0f : std::numeric_limits<float>::max();
  const float smallest = half ? 0x1p-24f : std::numeric_limits<float>::denorm_min();
  if (value == 0) return 0;
  return std::copysign(std::clamp(round_to_store(std::abs(value), store), smallest, largest), value);
}

float stored_offset(float value, ScaleStore store) {
  const float largest = store == ScaleStore::f16 ? 65504.0f : std::numeric_limits<float>::max();
  return std::clamp(round_to_store(value, store), -largest, largest);
}

// Four partial sums in what every target has as one register; GCC and Clang spell out the arithmetic.
using Lanes = float __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;

Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

double sum(Lanes lanes) {
  return (double(lanes[0]) + double(lanes[1])) + (double(lanes[2]) + double(lanes[3]));
}

// A group's values and their importance, with copies of both that are padded to whole lanes (importance 0).
struct Group {
  const QuantScheme& scheme;
  std::span<const float> values;
  float low = 0, high = 0;  // smallest and largest value
  std::vector<float> padded_values, padded_importance;

  Group(const QuantScheme& scheme_in, std::span<const float> values_in, std::span<const float> importance_in)
      : scheme(scheme_in), values(values_in), padded_importance(values_in.size(), 1.0f) {
    const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
    low = *smallest;
    high = *largest;
    if (std::any_of(importance_in.begin(), importance_in.end(), [](float h) { return h > 0; }))
      padded_importance.assign(importance_in.begin(), importance_in.end());
    const size_t padded = (values.size() + kLanes - 1) / kLanes * kLanes;
    padded_importance.resize(padded, 0.0f);
    padded_values.assign(values.begin(), values.end());
    padded_values.resize(padded, low);
  }
  std::span<const float> importance() const { return {padded_importance.data(), values.size()}; }
};

// Weighted sums over a group for the levels q_j = clamp(round((w_j - origin) * inverse), first, last).
struct LevelSums {
  double w = 0, q = 0, wq = 0, qq = 0;
};

inline LevelSums sum_levels(const Group& group, float origin, float inverse, float first, float last) {
  const Lanes lowest = {first, first, first, first}, highest = {last, last, last, last};
  Lanes w = {}, q = {}, wq = {}, qq = {};
  for (size_t j = 0; j < group.padded_values.size(); j += kLanes) {
    const Lanes h = load(&group.padded_importance[j]), value = load(&group.padded_values[j]) - origin;
    Lanes level = value * inverse;
    level = level > lowest ? level : lowest;
    level = level < highest ? level : highest;
    level = (level + kRounder) - kRounder;
    const Lanes hl = h * level;
    w += h * value;
    q += hl;
    wq += hl * value;
    qq += hl * level;
  }
  return {.w = sum(w), .q = sum(q), .wq = sum(wq), .qq = sum(qq)};
}

double error_of(const Group& group, const GroupGrid& grid) {
  return grid_error(group.scheme, grid, group.values, group.importance());
}

// Grids through zero (Zero::mid, Zero::integer).

// The signed extreme is mapped to the lowest code, so that all 2^bits codes are of use (-8..7 at 4 bits).
GroupGrid symmetric_from_extremes(const Group& group) {
  const QuantScheme& s = group.scheme;
  const float extreme = group.high > -group.low ? group.high : group.low;
  const float scale = s.min_code() == 0 ? -extreme / float(s.mid_code()) : std::abs(extreme) / 127.0f;
  return {.scale = stored_scale(scale, s.store), .zero = s.mid_code()};
}

GroupGrid asymmetric_from_extremes(const Group& group) {
  const QuantScheme& s = group.scheme;
  const float low = std::min(group.low, 0.0f), high = std::max(group.high, 0.0f);
  const float scale = stored_scale(high / float(s.max_code()) - low / float(s.max_code()), s.store);
  if (scale == 0) return {};
  return {.scale = scale, .zero = int(round_small(std::clamp(-low / scale, 0.0f, float(s.max_code()))))};
}

// Least-squares scale for the codes that `grid` gives.
GroupGrid refit_scale(const Group& group, const GroupGrid& grid) {
  double wl = 0, ll = 0;
  for (size_t j = 0; j < group.values.size(); ++j) {
    const double level = round_to_code(group.scheme, grid, group.values[j]) - grid.zero;
    const double h = double(group.importance()[j]);
    wl += h * double(group.values[j]) * level;
    ll += h * level * level;
  }
  if (ll == 0) return grid;
  return {.scale = stored_scale(float(wl / ll), group.scheme.store), .zero = grid.zero};
}

// The refitted scale of the best trial; explained energy is (sum h w q)^2 / sum h q^2.
struct ScaleSweep {
  const Group& group;
  double best;
  GroupGrid grid;

  void trial(float inverse, int zero) {
    const QuantScheme& s = group.scheme;
    const LevelSums sums =
        sum_levels(group, 0, inverse, float(s.min_code() - zero), float(s.max_code() - zero));
    const double explained = sums.wq * sums.wq / sums.qq;
    if (!(explained > best)) return;  // also when nothing rounds away from zero (0/0)
    best = explained;
    grid = {.scale = stored_scale(float(sums.wq / sums.qq), s.store), .zero = zero};
  }
};

GroupGrid sweep_symmetric(const Group& group) {
  const QuantScheme& s = group.scheme;
  const float extreme = std::max(group.high, -group.low);
  const float span = float(s.mid_code() - s.min_code());
  ScaleSweep sweep{.group = group, .best = 0, .grid = {}};
  for (int i = 0; i < kSweep; ++i) {
    const float inverse = (span + extra_levels(i)) / extreme;
    sweep.trial(inverse, s.mid_code());
    if (s.min_code() == 0) sweep.trial(-inverse, s.mid_code());  // the grid is one code longer on one side
  }
  return sweep.grid;
}

GroupGrid sweep_asymmetric(const Group& group) {
  const QuantScheme& s = group.scheme;
  const int around = asymmetric_from_extremes(group).zero;
  const float range = std::max(group.high, 0.0f) - std::min(group.low, 0.0f);
  ScaleSweep sweep{.group = group, .best = 0, .grid = {}};
  for (int zero = std::max(0, around - 1); zero <= std::min(s.max_code(), around + 1); ++zero)
    for (int i = 0; i < kSweep; ++i) sweep.trial((float(s.max_code()) + extra_levels(i)) / range, zero);
  return sweep.grid;
}

// Grids with a float offset (Zero::offset).

// The offset is rounded first and the scale covers what is left, so that the upper end is met whatever the
// offset lost. A constant group becomes the offset and a scale for the remainder.
GroupGrid offset_from_extremes(const Group& group) {
  const QuantScheme& s = group.scheme;
  const float offset = stored_offset(group.low, s.store);
  const float span = group.high / float(s.max_code()) - offset / float(s.max_code());
  return {.scale = stored_scale(span, s.store), .offset = offset};
}

// Least squares of scale and offset for given codes: the 2x2 normal equations, with values counted from
// `origin` so that a small spread around a large mean keeps its digits. The offset is rounded before the
// scale is fitted to it.
GroupGrid fit_offset(const Group& group, float origin, double h, const LevelSums& sums) {
  const double determinant = h * sums.qq - sums.q * sums.q;
  const double slope = (h * sums.wq - sums.q * sums.w) / determinant;
  const float offset =
      stored_offset(float(double(origin) + (sums.w - slope * sums.q) / h), group.scheme.store);
  const double remainder = double(offset) - double(origin);
  return {.scale = stored_scale(float((sums.wq - remainder * sums.q) / sums.qq), group.scheme.store),
          .offset = offset};
}

GroupGrid refit_offset(const Group& group, const GroupGrid& grid) {
  LevelSums sums;
  double total = 0;
  for (size_t j = 0; j < group.values.size(); ++j) {
    const double h = double(group.importance()[j]), w = double(group.values[j]) - double(group.low);
    const double code = round_to_code(group.scheme, grid, group.values[j]);
    total += h;
    sums.w += h * w;
    sums.q += h * code;
    sums.wq += h * w * code;
    sums.qq += h * code * code;
  }
  return fit_offset(group, group.low, total, sums);
}

// Both ends of the range are drawn in by up to kEnds - 1 steps.
GroupGrid sweep_offset(const Group& group) {
  constexpr int kEnds = 6;
  const QuantScheme& s = group.scheme;
  const float levels = float(s.max_code());
  const float step = s.bits <= 2 ? 0.15f : s.bits == 3 ? 0.25f : s.bits == 4 ? 0.35f : 0.5f;
  const float width = (group.high - group.low) / levels;  // of one level
  double h = 0;
  for (float value : group.importance()) h += double(value);

  double best = 0;
  GroupGrid grid;
  for (int below = 0; below < kEnds; ++below) {
    for (int above = 0; above < kEnds; ++above) {
      const float cut_low = step * float(below), cut_high = step * float(above);
      const float inverse = levels / (width * (levels - cut_low - cut_high));
      const float origin = group.low + width * cut_low;
      const LevelSums sums = sum_levels(group, origin, inverse, 0, levels);
      const double covariance = h * sums.wq - sums.q * sums.w;
      const double explained = covariance * covariance / (h * sums.qq - sums.q * sums.q);
      if (!(explained > best)) continue;
      best = explained;
      grid = fit_offset(group, origin, h, sums);
    }
  }
  return grid;
}

struct Methods {
  GroupGrid (*from_extremes)(const Group&);
  GroupGrid (*sweep)(const Group&);
  GroupGrid (*refit)(const Group&, const GroupGrid&);
};

Methods methods(Zero zero) {
  switch (zero) {
    case Zero::mid: return {symmetric_from_extremes, sweep_symmetric, refit_scale};
    case Zero::integer: return {asymmetric_from_extremes, sweep_asymmetric, refit_scale};
    case Zero::offset: break;
  }
  return {offset_from_extremes, sweep_offset, refit_offset};
}

}  // namespace

GroupGrid choose_grid(const QuantScheme& scheme, std::span<const float> values,
                      std::span<const float> importance, GridSearch search) {
  const Group group(scheme, values, importance);
  const Methods method = methods(scheme.zero);
  GroupGrid best = method.from_extremes(group);
  if (search == GridSearch::none || best.scale == 0) return best;

  double least = error_of(group, best);
  const auto offer = [&](const GroupGrid& grid) {
    const double error = std::isfinite(grid.scale) && std::isfinite(grid.offset)
                             ? error_of(group, grid)
                             : std::numeric_limits<double>::max();
    if (!(error < least)) return false;
    least = error;
    best = grid;
    return true;
  };
  offer(method.sweep(group));
  // Rounding the scale moved a few codes; fit to those. Each accepted step lowers E.
  for (int i = 0; i < 3 && least > 0 && offer(method.refit(group, best)); ++i) {
  }
  return best;
}

double grid_error(const QuantScheme& scheme, const GroupGrid& grid, std::span<const float> values,
                  std::span<const float> importance) {
  double error = 0;
  for (size_t j = 0; j < values.size(); ++j) {
    const double difference =
        double(values[j]) - double(code_value(grid, round_to_code(scheme, grid, values[j])));
    error += (importance.empty() ? 1.0 : double(importance[j])) * difference * difference;
  }
  return error;
}

void set_grid(QuantizedTensor& q, int64_t r, int64_t g, const GroupGrid& grid) {
  const auto at = size_t(r * q.groups() + g);
  q.scales[at] = grid.scale;
  if (q.scheme.zero == Zero::integer) q.zeros[at] = uint8_t(grid.zero);
  if (q.scheme.zero == Zero::offset) q.offsets[at] = grid.offset;
}

GroupGrid get_grid(const QuantizedTensor& q, int64_t r, int64_t g) {
  return {.scale = q.scale(r, g), .zero = q.zero(r, g), .offset = q.offset(r, g)};
}

}  // namespace edgeq

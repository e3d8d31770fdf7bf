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

// Trial i draws the ends of a table in by the same share, signed extreme at -127 or at 113.
float table_stretch(int trial) { return 1 + extra_levels(trial) / 8; }

bool is_half(ScaleStore store) { return store != ScaleStore::f32 && store != ScaleStore::s8_row; }

float stored_offset(float value, ScaleStore store) {
  const float largest = is_half(store) ? 65504.0f : std::numeric_limits<float>::max();
  return std::clamp(round_to_store(value, store), -largest, largest);
}

// Codes of scales and offsets run from 0 or -largest to this.
int largest_code(ScaleStore store) { return store == ScaleStore::u6_super ? 63 : 127; }

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
  const OuterGrid* outer;  // of a two-level store; null while it is being chosen: any f32 scale will do
  std::span<const float> values;
  int least_zero;           // of Zero::integer
  float low = 0, high = 0;  // smallest and largest value
  std::vector<float> padded_values, padded_importance;

  Group(const QuantScheme& scheme_in, const OuterGrid* outer_in, std::span<const float> values_in,
        std::span<const float> importance_in, int least_zero_in = 0)
      : scheme(scheme_in),
        outer(outer_in),
        values(values_in),
        least_zero(least_zero_in),
        padded_importance(values_in.size(), 1.0f) {
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
  // A third of the trials suffices for an outer scale, which is about a group's scale and is not it.
  int sweep_step() const { return scheme.two_level() && outer == nullptr ? 3 : 1; }
};

// The grid of a group with these numbers, as the store holds them.

void put_scale(const Group& group, float scale, GroupGrid& grid) {
  const ScaleStore store = group.scheme.store;
  if (!group.scheme.two_level()) {
    grid.scale = stored_scale(scale, store);
  } else if (group.outer == nullptr) {
    grid.scale = stored_scale(scale, ScaleStore::f32);
  } else if (group.outer->scale != 0 && scale != 0) {
    const auto last = float(largest_code(store)), first = store == ScaleStore::u6_super ? 1 : -last;
    const float code = round_small(std::clamp(scale / group.outer->scale, first, last));
    grid.scale_code = int8_t(code != 0 ? code : std::copysign(1.0f, scale));
    grid.scale = group.outer->scale * float(grid.scale_code);
  }
}

// Offsets of super-blocks are never positive.
void put_offset(const Group& group, float offset, GroupGrid& grid) {
  const ScaleStore store = group.scheme.store;
  if (!group.scheme.two_level()) {
    grid.offset = stored_offset(offset, store);
  } else if (group.outer == nullptr) {
    grid.offset = std::min(offset, 0.0f);
  } else if (group.outer->offset != 0) {
    grid.offset_code =
        int8_t(round_small(std::clamp(-offset / group.outer->offset, 0.0f, float(largest_code(store)))));
    grid.offset = -(group.outer->offset * float(grid.offset_code));
  }
}

GroupGrid scaled_grid(const Group& group, float scale, int zero) {
  GroupGrid grid{.zero = zero};
  put_scale(group, scale, grid);
  return grid;
}

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

// The same for the levels of the table nearest to w_j * inverse.
LevelSums sum_table_levels(const Group& group, float inverse) {
  using Indices = int32_t __attribute__((vector_size(16)));
  const float first = kIq4nlLevels.front(), last = kIq4nlLevels.back();
  const Lanes lowest = {first, first, first, first}, highest = {last, last, last, last};
  Lanes wq = {}, qq = {};
  for (size_t j = 0; j < group.padded_values.size(); j += kLanes) {
    const Lanes h = load(&group.padded_importance[j]), value = load(&group.padded_values[j]);
    Lanes x = value * inverse;
    x = x > lowest ? x : lowest;
    x = x < highest ? x : highest;
    const Indices at = __builtin_convertvector((x - first) * 2, Indices);
    const Lanes level = {kNearestIq4nlLevel[size_t(at[0])], kNearestIq4nlLevel[size_t(at[1])],
                         kNearestIq4nlLevel[size_t(at[2])], kNearestIq4nlLevel[size_t(at[3])]};
    const Lanes hl = h * level;
    wq += hl * value;
    qq += hl * level;
  }
  return {.wq = sum(wq), .qq = sum(qq)};
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
  return scaled_grid(group, scale, s.mid_code());
}

GroupGrid table_from_extremes(const Group& group) {
  const float extreme = group.high > -group.low ? group.high : group.low;
  return scaled_grid(group, extreme / kIq4nlLevels.front(), 0);
}

GroupGrid asymmetric_from_extremes(const Group& group) {
  const QuantScheme& s = group.scheme;
  const float low = std::min(group.low, 0.0f), high = std::max(group.high, 0.0f);
  GroupGrid grid = scaled_grid(group, high / float(s.max_code()) - low / float(s.max_code()), 0);
  if (grid.scale == 0) return {.zero = group.least_zero};
  grid.zero = int(round_small(std::clamp(-low / grid.scale, 0.0f, float(s.max_code()))));
  if (grid.zero >= group.least_zero) return grid;
  // The code below zero stays unused or nearly so, and the others have to reach as high.
  return scaled_grid(group, high / float(s.max_code() - group.least_zero), group.least_zero);
}

// Least-squares scale for the codes that `grid` gives.
GroupGrid refit_scale(const Group& group, const GroupGrid& grid) {
  double wl = 0, ll = 0;
  for (size_t j = 0; j < group.values.size(); ++j) {
    const double level = group.scheme.level(round_to_code(group.scheme, grid, group.values[j])) - grid.zero;
    const double h = double(group.importance()[j]);
    wl += h * double(group.values[j]) * level;
    ll += h * level * level;
  }
  if (ll == 0) return grid;
  return scaled_grid(group, float(wl / ll), grid.zero);
}

// The refitted scale of the best trial; explained energy is (sum h w q)^2 / sum h q^2.
struct ScaleSweep {
  const Group& group;
  double best;
  GroupGrid grid;

  void trial(float inverse, int zero) {
    const QuantScheme& s = group.scheme;
    offer(sum_levels(group, 0, inverse, float(s.min_code() - zero), float(s.max_code() - zero)), zero);
  }
  void offer(const LevelSums& sums, int zero) {
    const double explained = sums.wq * sums.wq / sums.qq;
    if (!(explained > best)) return;  // also when nothing rounds away from zero (0/0)
    best = explained;
    grid = scaled_grid(group, float(sums.wq / sums.qq), zero);
  }
};

GroupGrid sweep_symmetric(const Group& group) {
  const QuantScheme& s = group.scheme;
  const float extreme = std::max(group.high, -group.low);
  const float span = float(s.mid_code() - s.min_code());
  ScaleSweep sweep{.group = group, .best = 0, .grid = {}};
  for (int i = 0; i < kSweep; i += group.sweep_step()) {
    const float inverse = (span + extra_levels(i)) / extreme;
    sweep.trial(inverse, s.mid_code());
    if (s.min_code() == 0) sweep.trial(-inverse, s.mid_code());  // the grid is one code longer on one side
  }
  return sweep.grid;
}

GroupGrid sweep_table(const Group& group) {
  const float extreme = group.high > -group.low ? group.high : group.low;
  ScaleSweep sweep{.group = group, .best = 0, .grid = {}};
  for (int i = 0; i < kSweep; i += group.sweep_step())
    for (const float end : {float(kIq4nlLevels.front()), float(kIq4nlLevels.back())}) {
      const float inverse = end * table_stretch(i) / extreme;
      if (std::isfinite(inverse)) sweep.offer(sum_table_levels(group, inverse), 0);
    }
  return sweep.grid;
}

GroupGrid sweep_asymmetric(const Group& group) {
  const QuantScheme& s = group.scheme;
  const int around = asymmetric_from_extremes(group).zero;
  const float range = std::max(group.high, 0.0f) - std::min(group.low, 0.0f);
  ScaleSweep sweep{.group = group, .best = 0, .grid = {.zero = group.least_zero}};
  for (int zero = std::max(group.least_zero, around - 1); zero <= std::min(s.max_code(), around + 1); ++zero)
    for (int i = 0; i < kSweep; i += group.sweep_step())
      sweep.trial((float(s.max_code()) + extra_levels(i)) / range, zero);
  return sweep.grid;
}

// Grids with a float offset (Zero::offset).

// The offset is rounded first and the scale covers what is left, so that the upper end is met whatever the
// offset lost. A constant group becomes the offset and a scale for the remainder.
GroupGrid offset_from_extremes(const Group& group) {
  const QuantScheme& s = group.scheme;
  GroupGrid grid;
  put_offset(group, group.low, grid);
  put_scale(group, group.high / float(s.max_code()) - grid.offset / float(s.max_code()), grid);
  return grid;
}

// Least squares of scale and offset for given codes: the 2x2 normal equations, with values counted from
// `origin` so that a small spread around a large mean keeps its digits. The offset is rounded before the
// scale is fitted to it.
GroupGrid fit_offset(const Group& group, float origin, double h, const LevelSums& sums) {
  const double determinant = h * sums.qq - sums.q * sums.q;
  const double slope = (h * sums.wq - sums.q * sums.w) / determinant;
  GroupGrid grid;
  put_offset(group, float(double(origin) + (sums.w - slope * sums.q) / h), grid);
  const double remainder = double(grid.offset) - double(origin);
  put_scale(group, float((sums.wq - remainder * sums.q) / sums.qq), grid);
  return grid;
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

Methods methods(const QuantScheme& scheme) {
  if (scheme.levels == Levels::iq4nl) return {table_from_extremes, sweep_table, refit_scale};
  switch (scheme.zero) {
    case Zero::mid: return {symmetric_from_extremes, sweep_symmetric, refit_scale};
    case Zero::integer: return {asymmetric_from_extremes, sweep_asymmetric, refit_scale};
    case Zero::offset: break;
  }
  return {offset_from_extremes, sweep_offset, refit_offset};
}

GroupGrid choose(const Group& group, GridSearch search) {
  const Methods method = methods(group.scheme);
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

}  // namespace

float stored_scale(float value, ScaleStore store) {
  const float largest = is_half(store) ? 65504.0f : std::numeric_limits<float>::max();
  const float smallest = is_half(store) ? 0x1p-24f : std::numeric_limits<float>::denorm_min();
  if (value == 0) return 0;
  return std::copysign(std::clamp(round_to_store(std::abs(value), store), smallest, largest), value);
}

OuterGrid choose_outer(const QuantScheme& scheme, int64_t group, std::span<const float> values,
                       std::span<const float> importance, GridSearch search, float head_room) {
  float scale = 0, offset = 0;
  for (size_t first = 0; first < values.size(); first += size_t(group)) {
    const auto h = importance.empty() ? importance : importance.subspan(first, size_t(group));
    const GroupGrid grid = choose(Group(scheme, nullptr, values.subspan(first, size_t(group)), h), search);
    scale = std::max(scale, std::abs(grid.scale));
    offset = std::max(offset, -grid.offset);
  }
  const float unit = head_room / float(largest_code(scheme.store));
  return {.scale = stored_scale(scale * unit, scheme.store),
          .offset = stored_scale(offset * unit, scheme.store)};
}

GroupGrid choose_grid(const QuantScheme& scheme, std::span<const float> values,
                      std::span<const float> importance, GridSearch search, const OuterGrid& outer,
                      int least_zero) {
  return choose(Group(scheme, &outer, values, importance, least_zero), search);
}

double grid_error(const QuantScheme& scheme, const GroupGrid& grid, std::span<const float> values,
                  std::span<const float> importance) {
  double error = 0;
  for (size_t j = 0; j < values.size(); ++j) {
    const double difference =
        double(values[j]) - double(code_value(scheme, grid, round_to_code(scheme, grid, values[j])));
    error += (importance.empty() ? 1.0 : double(importance[j])) * difference * difference;
  }
  return error;
}

void set_outer(QuantizedTensor& q, int64_t r, int64_t g, const OuterGrid& outer) {
  q.outer_scales[q.outer_at(r, g)] = outer.scale;
  if (!q.outer_offsets.empty()) q.outer_offsets[q.outer_at(r, g)] = outer.offset;
}

void set_grid(QuantizedTensor& q, int64_t r, int64_t g, const GroupGrid& grid) {
  const auto at = size_t(r * q.groups() + g);
  if (q.scheme.zero == Zero::integer) q.zeros[at] = uint8_t(grid.zero);
  if (q.scheme.two_level()) {
    q.scale_codes[at] = grid.scale_code;
    if (!q.offset_codes.empty()) q.offset_codes[at] = grid.offset_code;
  } else {
    q.scales[at] = grid.scale;
    if (!q.offsets.empty()) q.offsets[at] = grid.offset;
  }
}

GroupGrid get_grid(const QuantizedTensor& q, int64_t r, int64_t g) {
  GroupGrid grid{.scale = q.scale(r, g), .zero = q.zero(r, g), .offset = q.offset(r, g)};
  const auto at = size_t(r * q.groups() + g);
  if (!q.scale_codes.empty()) grid.scale_code = q.scale_codes[at];
  if (!q.offset_codes.empty()) grid.offset_code = q.offset_codes[at];
  return grid;
}

}  // namespace edgeq

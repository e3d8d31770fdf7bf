// SPDX-License-Identifier: Apache-2.0
#include "calibration/collect.h"

#include <cmath>
#include <vector>

#include "calibration/accumulate.h"
#include "core/error.h"

namespace edgeq {
namespace {

std::vector<MatrixView<const float>> matrices(std::span<const State> states, Tensor State::*part) {
  std::vector<MatrixView<const float>> windows;
  windows.reserve(states.size());
  for (const State& state : states) windows.push_back((state.*part).matrix());
  return windows;
}

// sum_j |after_j - before_j| / sum_j after_j, of numbers that are not negative.
double relative_change(std::span<const double> before, std::span<const double> after) {
  double change = 0, total = 0;
  for (size_t j = 0; j < after.size(); ++j) {
    change += std::abs(after[j] - before[j]);
    total += after[j];
  }
  return total > 0 ? change / total : 0;
}

// mean over all rows of a - b.
Tensor mean_difference(std::span<const State> a, std::span<const State> b, Tensor State::*part) {
  const int64_t width = (a.front().*part).cols();
  std::vector<double> sums(size_t(width), 0.0);
  int64_t rows = 0;
  for (size_t w = 0; w < a.size(); ++w) {
    const auto x = (a[w].*part).matrix(), y = (b[w].*part).matrix();
    rows += x.rows;
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t c = 0; c < width; ++c) sums[size_t(c)] += double(x(t, c)) - double(y(t, c));
  }
  Tensor mean(DType::f32, {width});
  for (int64_t c = 0; c < width; ++c) mean.f32()[c] = float(sums[size_t(c)] / double(rows));
  return mean;
}

}  // namespace

InputStats stage_stats(std::span<const State> states, unsigned needs) {
  if (states.empty()) throw Error("calibration has no windows; expected at least one");
  const auto matrices_of_all = matrices(states, &State::input);
  const std::span windows(matrices_of_all);
  const size_t early = windows.size() - windows.size() / 4;
  StatsAccumulator accumulator(windows.front().cols, needs);
  accumulator.add(windows.first(early));
  const std::vector<double> before = accumulator.square_means();
  accumulator.add(windows.subspan(early));
  const double change = relative_change(before, accumulator.square_means());
  InputStats stats = accumulator.finish();
  stats.last_quarter_change = change;
  return stats;
}

float stage_scale(std::span<const State> states, Observer observer) {
  return observe_scale(matrices(states, &State::input), observer);
}

Tensor input_cross_moment(std::span<const State> reference, std::span<const State> states) {
  const auto x = matrices(states, &State::input);
  return cross_moment(matrices(reference, &State::input), x, x);
}

Tensor input_drift(std::span<const State> reference, std::span<const State> states) {
  return mean_difference(reference, states, &State::input);
}

Tensor hidden_drift(std::span<const State> reference, std::span<const State> states) {
  return mean_difference(reference, states, &State::hidden);
}

Tensor hidden_cross_moment(std::span<const State> reference, std::span<const State> states) {
  return cross_moment(matrices(reference, &State::hidden), matrices(states, &State::hidden),
                      matrices(states, &State::input));
}

}  // namespace edgeq

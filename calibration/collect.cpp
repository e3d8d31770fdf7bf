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

}  // namespace

InputStats stage_stats(std::span<const State> states, unsigned needs) {
  if (states.empty()) throw Error("calibration has no windows; expected at least one");
  const auto windows = matrices(states, &State::input);
  StatsAccumulator accumulator(windows.front().cols, needs);
  accumulator.add(windows);
  return accumulator.finish();
}

double last_quarter_change(std::span<const State> states) {
  const size_t early = states.size() - states.size() / 4;
  if (early == states.size()) return 0;
  std::vector<double> first(size_t(states[0].input.cols())), all;
  double tokens = 0, early_tokens = 0;
  const auto add = [&](const State& state, std::vector<double>& sums) {
    const auto x = state.input.matrix();
    tokens += double(x.rows);
    for (int64_t r = 0; r < x.rows; ++r)
      for (int64_t j = 0; j < x.cols; ++j) sums[size_t(j)] += double(x(r, j)) * double(x(r, j));
  };
  for (const State& state : states.first(early)) add(state, first);
  early_tokens = tokens;
  all = first;
  for (const State& state : states.subspan(early)) add(state, all);
  double change = 0, total = 0;
  for (size_t j = 0; j < all.size(); ++j) {
    change += std::abs(all[j] / tokens - first[j] / early_tokens);
    total += all[j] / tokens;
  }
  return total > 0 ? change / total : 0;
}

Tensor input_cross_moment(std::span<const State> reference, std::span<const State> states) {
  const auto x = matrices(states, &State::input);
  return cross_moment(matrices(reference, &State::input), x, x);
}

Tensor hidden_cross_moment(std::span<const State> reference, std::span<const State> states) {
  return cross_moment(matrices(reference, &State::hidden), matrices(states, &State::hidden),
                      matrices(states, &State::input));
}

}  // namespace edgeq

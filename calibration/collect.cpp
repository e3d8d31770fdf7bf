// SPDX-License-Identifier: Apache-2.0
#include "calibration/collect.h"

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

Tensor input_cross_moment(std::span<const State> reference, std::span<const State> states) {
  const auto x = matrices(states, &State::input);
  return cross_moment(matrices(reference, &State::input), x, x);
}

Tensor hidden_cross_moment(std::span<const State> reference, std::span<const State> states) {
  return cross_moment(matrices(reference, &State::hidden), matrices(states, &State::hidden),
                      matrices(states, &State::input));
}

}  // namespace edgeq

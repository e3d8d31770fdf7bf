// SPDX-License-Identifier: Apache-2.0
#include "calibration/collect.h"

#include <vector>

#include "calibration/accumulate.h"
#include "core/error.h"

namespace edgeq {

InputStats stage_stats(std::span<const State> states, unsigned needs) {
  if (states.empty()) throw Error("calibration has no windows; expected at least one");
  std::vector<MatrixView<const float>> windows;
  windows.reserve(states.size());
  for (const State& state : states) windows.push_back(state.input.matrix());
  StatsAccumulator accumulator(windows.front().cols, needs);
  accumulator.add(windows);
  return accumulator.finish();
}

}  // namespace edgeq

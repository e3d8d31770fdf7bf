// SPDX-License-Identifier: Apache-2.0
#include "runtime/reach.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace edgeq {
namespace {

// Where 4 bytes a token and a page's number for each 32 are little, and sines and cosines are exact enough.
constexpr int64_t kLongest = int64_t(1) << 21;

}  // namespace

void check_reach(const Reach& reach, const ModelConfig& config) {
  if (!reach.limited() && reach.sinks == 0) return;
  if (reach.window < kLeastWindow)
    throw Error(fmt::format("a window of {} tokens; expected at least {}", reach.window, kLeastWindow));
  if (reach.sinks < 0) throw Error(fmt::format("{} sinks; expected at least 0", reach.sinks));
  // Written so that the sum cannot overflow.
  if (reach.window > config.context || reach.sinks > config.context - reach.window)
    throw Error(fmt::format("a window of {} tokens and {} sinks; expected at most the model's context of {}",
                            reach.window, reach.sinks, config.context));
}

Reach reach_of(const LayerShape& layer, const Reach& reach) {
  const bool own = layer.window != 0 && (!reach.limited() || layer.window <= reach.window);
  return own ? Reach{.window = layer.window, .sinks = 0} : reach;
}

int64_t longest_sequence(const ModelConfig& config, const Reach& reach) {
  return reach.limited() && !config.learned_positions ? std::max(kLongest, config.context) : config.context;
}

std::string reach_text(const Reach& reach) {
  if (!reach.limited()) return "all";
  if (reach.sinks == 0) return fmt::format("the last {}", reach.window);
  return fmt::format("the first {} and the last {}", reach.sinks, reach.window);
}

}  // namespace edgeq

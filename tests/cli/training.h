// SPDX-License-Identifier: Apache-2.0
// What tests read from the report of a training.
#pragma once

#include <nlohmann/json.hpp>

namespace edgeq {

// KL on held-out text of what was kept, as a share of that before the first step.
inline double gained(const nlohmann::json& training) {
  const auto& looks = training.at("heldout");
  return looks.at(training.at("kept").get<size_t>()).at("kl").get<double>() /
         looks.at(0).at("kl").get<double>();
}

}  // namespace edgeq

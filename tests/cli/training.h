// SPDX-License-Identifier: Apache-2.0
// What tests read from the report of a training.
#pragma once

#include <cstddef>

namespace edgeq {

// KL on held-out text of what was kept, as a share of that before the first step.
template <class Json>
double gained(const Json& training) {
  const auto& looks = training.at("heldout");
  return looks.at(training.at("kept").template get<size_t>()).at("kl").template get<double>() /
         looks.at(0).at("kl").template get<double>();
}

}  // namespace edgeq

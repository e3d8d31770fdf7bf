// SPDX-License-Identifier: Apache-2.0
// Adam (Kingma and Ba, arXiv 1412.6980) on one flat vector, in f32.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace edgeq {

struct Adam {
  static constexpr double kMean = 0.9, kSquare = 0.95, kEpsilon = 1e-12;
  std::vector<float> mean, square;  // of gradients so far

  // step: from 0.
  void descend(std::span<float> values, std::span<const float> gradient, int64_t step, double rate) {
    const double of_mean = 1 / (1 - std::pow(kMean, double(step + 1)));
    const double of_square = 1 / (1 - std::pow(kSquare, double(step + 1)));
    for (size_t i = 0; i < values.size(); ++i) {
      const auto g = double(gradient[i]);
      mean[i] = float(kMean * double(mean[i]) + (1 - kMean) * g);
      square[i] = float(kSquare * double(square[i]) + (1 - kSquare) * g * g);
      values[i] -=
          float(rate * of_mean * double(mean[i]) / (std::sqrt(of_square * double(square[i])) + kEpsilon));
    }
  }
};

}  // namespace edgeq

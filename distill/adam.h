// SPDX-License-Identifier: Apache-2.0
// Adam (Kingma and Ba, arXiv 1412.6980) with decoupled weight decay (AdamW; Loshchilov and Hutter, arXiv
// 1711.05101), in f32, one pass over memory:
//   m = a m + (1 - a) g,   v = b v + (1 - b) g^2,
//   w = w - rate (decay w + (m / (1 - a^t)) / (sqrt(v / (1 - b^t)) + epsilon))
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace edgeq {

struct Adam {
  float mean_decay = 0.9F, square_decay = 0.95F, epsilon = 1e-8F, decay = 0;

  // All four of one size; `means` and `squares` of gradients so far, 0 before the first. step: from 0.
  void descend(std::span<float> values, std::span<const float> gradient, std::span<float> means,
               std::span<float> squares, int64_t step, double rate) const {
    const auto of_mean = float(rate / (1 - std::pow(double(mean_decay), double(step + 1))));
    const auto of_square = float(1 / (1 - std::pow(double(square_decay), double(step + 1))));
    const auto kept = float(1 - rate * double(decay));
    for (size_t i = 0; i < values.size(); ++i) {
      const float g = gradient[i];
      const float mean = means[i] = mean_decay * means[i] + (1 - mean_decay) * g;
      const float square = squares[i] = square_decay * squares[i] + (1 - square_decay) * g * g;
      values[i] = kept * values[i] - of_mean * mean / (std::sqrt(of_square * square) + epsilon);
    }
  }
};

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// Random weights and inputs with known statistics.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "calibration/stats.h"
#include "core/quantized_tensor.h"
#include "core/random.h"
#include "core/tensor.h"

namespace edgeq {

inline Tensor random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  Random random(seed);
  Tensor out(DType::f32, {rows, cols});
  for (int64_t i = 0; i < out.size(); ++i) out.f32()[i] = float(random.normal());
  return out;
}

// `tokens` inputs of width d, each a mix of `factors` shared sources and some noise of its own; the scale of
// column j falls with j, so that columns differ in importance. correlation 0: independent columns.
inline Tensor random_inputs(int64_t tokens, int64_t d, double correlation, uint64_t seed) {
  constexpr int64_t kFactors = 6;
  Random random(seed);
  const Tensor mixing = random_matrix(kFactors, d, seed + 1);
  Tensor out(DType::f32, {tokens, d});
  for (int64_t t = 0; t < tokens; ++t) {
    double source[kFactors];
    for (double& s : source) s = random.normal();
    for (int64_t j = 0; j < d; ++j) {
      double x = (1 - correlation) * random.normal();
      for (int64_t k = 0; k < kFactors; ++k) x += correlation * source[k] * double(mixing.matrix()(k, j));
      out.f32()[t * d + j] = float(x / std::sqrt(1 + double((j * 7) % d)));
    }
  }
  return out;
}

// Statistics by their definition, in double.
inline InputStats stats_of(const Tensor& inputs) {
  const int64_t n = inputs.rows(), d = inputs.cols();
  InputStats stats;
  stats.tokens = n;
  stats.abs_max = stats.mean = stats.square_mean = Tensor(DType::f32, {d});
  stats.hessian = Tensor(DType::f32, {d, d});
  const auto x = inputs.matrix();
  for (int64_t i = 0; i < d; ++i) {
    double sum = 0;
    for (int64_t t = 0; t < n; ++t) {
      stats.abs_max.f32()[i] = std::max(stats.abs_max.f32()[i], std::abs(x(t, i)));
      sum += double(x(t, i)) / double(n);
    }
    stats.mean.f32()[i] = float(sum);
    for (int64_t j = 0; j < d; ++j) {
      double product = 0;
      for (int64_t t = 0; t < n; ++t) product += double(x(t, i)) * double(x(t, j)) / double(n);
      stats.hessian.matrix()(i, j) = float(product);
    }
    stats.square_mean.f32()[i] = stats.hessian.matrix()(i, i);
  }
  return stats;
}

inline Tensor dequantized(const QuantizedTensor& q) {
  Tensor out(DType::f32, {q.rows, q.cols});
  dequantize_into(q, out.matrix());
  return out;
}

// Those with flat stores.
inline const std::vector<std::string>& all_schemes() {
  static const std::vector<std::string> schemes = [] {
    std::vector<std::string> texts;
    for (int bits = 2; bits <= 8; ++bits)
      for (const char* group : {"g32", "g64", "channel"})
        for (const char* zero : {"sym", "asym", "offset"})
          for (const char* store : {"", "-f16", "-f32"})
            texts.push_back("int" + std::to_string(bits) + "-" + group + "-" + zero + store);
    for (const char* text : {"iq4nl-g32", "iq4nl-g64", "iq4nl-channel", "iq4nl-g32-f32"})
      texts.emplace_back(text);
    return texts;
  }();
  return schemes;
}

// mean over tokens of (a - b) x^T, by its definition: [columns of a, columns of x].
inline Tensor moment_of_difference(const Tensor& a, const Tensor& b, const Tensor& x) {
  Tensor out(DType::f32, {a.cols(), x.cols()});
  for (int64_t i = 0; i < a.cols(); ++i)
    for (int64_t j = 0; j < x.cols(); ++j) {
      double sum = 0;
      for (int64_t t = 0; t < x.rows(); ++t)
        sum += (double(a.matrix()(t, i)) - double(b.matrix()(t, i))) * double(x.matrix()(t, j));
      out.matrix()(i, j) = float(sum / double(x.rows()));
    }
  return out;
}

}  // namespace edgeq

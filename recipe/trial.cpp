// SPDX-License-Identifier: Apache-2.0
#include "recipe/trial.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "calibration/accumulate.h"
#include "core/parallel.h"
#include "quantizers/output_error.h"
#include "recipe/compress_site.h"

namespace edgeq {
namespace {

// Rows in proportion to their weight, at even steps through the sum: some more than once where few count.
std::vector<int64_t> draw_rows(std::span<const double> weights, double sum) {
  std::vector<int64_t> rows;
  double passed = 0;
  for (size_t r = 0; r < weights.size(); ++r) {
    passed += weights[r];
    while (std::ssize(rows) < kTrialRows && (double(rows.size()) + 0.5) * sum < passed * double(kTrialRows))
      rows.push_back(int64_t(r));
  }
  return rows;
}

Tensor gather(MatrixView<const float> weight, std::span<const int64_t> rows) {
  Tensor out(DType::f32, {std::ssize(rows), weight.cols});
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(weight.row(rows[i]), weight.cols, out.matrix().row(int64_t(i)));
  return out;
}

// What `candidate` makes of some rows.
Tensor tried(const SitePlan& candidate, const Tensor& rows, const InputStats& stats) {
  SitePlan plan = candidate;
  plan.correction.reset();
  Site site{.name = candidate.name, .weight = rows, .bias = {}};
  compress_site(plan, site, stats);
  return std::move(site.weight);
}

}  // namespace

void WindowEnergy::add(MatrixView<const float> gradient) {
  rows.resize(size_t(gradient.cols), 0.0);
  for (int64_t t = 0; t < gradient.rows; ++t) {
    double token = 0;
    for (int64_t r = 0; r < gradient.cols; ++r) {
      const double square = double(gradient(t, r)) * double(gradient(t, r));
      rows[size_t(r)] += square;
      token += square;
    }
    tokens.push_back(token);
  }
}

Energy energy_of(std::span<const WindowEnergy> windows) {
  double sum = 0, count = 0;
  for (const WindowEnergy& window : windows)
    for (const double e : window.tokens) sum += e, count += 1;
  Energy energy{.rows = std::vector<double>(windows.front().rows.size(), 0.0), .relative = {}};
  for (const WindowEnergy& window : windows) {
    for (size_t r = 0; r < window.rows.size(); ++r) energy.rows[r] += window.rows[r] / count;
    std::vector<double>& relative = energy.relative.emplace_back(window.tokens);
    for (double& e : relative) e = sum > 0 ? e * count / sum : 0.0;
  }
  return energy;
}

InputStats weighted_stats(std::span<const State> states, const Energy& energy) {
  std::vector<Tensor> inputs(states.size());
  parallel_for(int64_t(states.size()), [&](int64_t w) {
    Tensor& x = inputs[size_t(w)] = states[size_t(w)].input;
    for (int64_t t = 0; t < x.rows(); ++t) {
      const auto factor = float(std::sqrt(energy.relative[size_t(w)][size_t(t)]));
      for (int64_t c = 0; c < x.cols(); ++c) x.matrix()(t, c) *= factor;
    }
  });
  std::vector<MatrixView<const float>> views;
  for (const Tensor& x : inputs) views.push_back(x.matrix());
  StatsAccumulator accumulator(inputs.front().cols(), kNeedHessian);
  accumulator.add(views);
  return accumulator.finish();
}

ProductTrial::ProductTrial(MatrixView<const float> weight, const Energy& energy, const InputStats& weighted)
    : weighted_(weighted) {
  std::vector<double> weights(size_t(weight.rows)), norms(size_t(weight.rows));
  for (int64_t r = 0; r < weight.rows; ++r) {
    double square = 0;
    for (int64_t c = 0; c < weight.cols; ++c) square += double(weight(r, c)) * double(weight(r, c));
    norms[size_t(r)] = std::sqrt(square);
    weights[size_t(r)] = energy.rows[size_t(r)] * square;
    sum_ += weights[size_t(r)];
  }
  const std::vector<int64_t> drawn = draw_rows(weights, sum_);
  rows_ = gather(weight, drawn);
  for (const int64_t r : drawn) norms_.push_back(norms[size_t(r)]);
}

// Each row over its norm as a float weight.
Tensor ProductTrial::unit(Tensor rows) const {
  for (int64_t r = 0; r < rows.rows(); ++r)
    for (int64_t c = 0; c < rows.cols(); ++c) rows.matrix()(r, c) /= float(norms_[size_t(r)]);
  return rows;
}

double ProductTrial::cost(const SitePlan& candidate, const InputStats& stats) const {
  if (rows_.empty()) return 0;
  const Tensor before = unit(rows_), after = unit(tried(candidate, rows_, stats));
  const double error = output_error(before.matrix(), after.matrix(), weighted_).squared;
  return 0.5 * sum_ * error / double(rows_.rows());
}

LookupTrial::LookupTrial(MatrixView<const float> table, std::span<const TokenId> tokens,
                         std::vector<double> columns)
    : columns_(std::move(columns)) {
  const int64_t count = std::min(kTrialRows, std::ssize(tokens));
  std::vector<int64_t> drawn;
  for (int64_t i = 0; i < count; ++i) drawn.push_back(tokens[size_t(i * std::ssize(tokens) / count)]);
  rows_ = gather(table, drawn);
}

double LookupTrial::cost(const SitePlan& candidate, const InputStats& stats) const {
  const Tensor after = tried(candidate, rows_, stats);
  double sum = 0;
  for (int64_t r = 0; r < rows_.rows(); ++r)
    for (int64_t c = 0; c < rows_.cols(); ++c) {
      const double d = double(rows_.matrix()(r, c)) - double(after.matrix()(r, c));
      sum += columns_[size_t(c)] * d * d;
    }
  return 0.5 * sum / double(rows_.rows());
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "quantizers/channel_scales.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "quantizers/methods.h"

namespace edgeq {
namespace {

bool is_live(double wish) { return std::isfinite(wish) && wish > 0; }

const float* of_width(const Tensor& statistic, const Fold& fold) {
  EDGEQ_CHECK(statistic.size() == std::ssize(fold.channel_of_column), "statistics of the fold's input");
  return statistic.f32();
}

}  // namespace

std::vector<double> input_maxima(const Fold& fold, const InputStats& stats) {
  const float* abs_max = of_width(stats.abs_max, fold);
  std::vector<double> maxima(size_t(fold.channels), 0.0);
  for (size_t c = 0; c < fold.channel_of_column.size(); ++c) {
    double& largest = maxima[size_t(fold.channel_of_column[c])];
    largest = std::max(largest, double(abs_max[c]));
  }
  return maxima;
}

std::vector<double> input_squares(const Fold& fold, const InputStats& stats) {
  const float* square_mean = of_width(stats.square_mean, fold);
  const auto columns_per_channel = double(fold.channel_of_column.size()) / double(fold.channels);
  std::vector<double> squares(size_t(fold.channels), 0.0);
  for (size_t c = 0; c < fold.channel_of_column.size(); ++c)
    squares[size_t(fold.channel_of_column[c])] += double(square_mean[c]) / columns_per_channel;
  return squares;
}

std::vector<double> weight_maxima(const Fold& fold, const Block& block) {
  std::vector<double> maxima(size_t(fold.channels), 0.0);
  for (const int i : fold.readers) {
    const auto weight = block.sites[size_t(i)].weight.matrix();
    for (int64_t r = 0; r < weight.rows; ++r)
      for (int64_t c = 0; c < weight.cols; ++c) {
        double& largest = maxima[size_t(fold.channel_of_column[size_t(c)])];
        largest = std::max(largest, std::abs(double(weight(r, c))));
      }
  }
  return maxima;
}

std::vector<float> channel_scales(const std::vector<double>& wishes) {
  double log_sum = 0, live = 0;
  for (const double wish : wishes)
    if (is_live(wish)) log_sum += std::log(wish), live += 1;
  const double log_mean = live > 0 ? log_sum / live : 0;
  std::vector<float> scales;
  scales.reserve(wishes.size());
  for (const double wish : wishes) {
    const double relative = is_live(wish) ? std::exp(std::log(wish) - log_mean) : 1;
    scales.push_back(float(std::clamp(relative, 1 / kMaxChannelScale, kMaxChannelScale)));
  }
  return scales;
}

void require_finite_block(const Block& block) {
  for (const Site& site : block.sites) with_context(site.name, [&] { require_finite(site.weight.matrix()); });
}

}  // namespace edgeq

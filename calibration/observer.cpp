// SPDX-License-Identifier: Apache-2.0
#include "calibration/observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr std::string_view kNames[] = {"minmax", "percentile", "entropy", "mse"};  // in the order of the enum

constexpr int64_t kBins = 4096, kLevels = 128;  // |code| is one of 0..127
constexpr double kKept = 0.9999;

float largest_magnitude(std::span<const MatrixView<const float>> windows) {
  std::vector<float> largest(windows.size());
  parallel_for(std::ssize(windows), [&](int64_t w) {
    const MatrixView<const float>& window = windows[size_t(w)];
    for (int64_t r = 0; r < window.rows; ++r)
      for (int64_t c = 0; c < window.cols; ++c) {
        if (!std::isfinite(window(r, c)))
          throw Error(fmt::format("column {} of the inputs is {}", c, window(r, c)));
        largest[size_t(w)] = std::max(largest[size_t(w)], std::abs(window(r, c)));
      }
  });
  if (largest.empty()) throw Error("there are no inputs to observe");
  return *std::ranges::max_element(largest);
}

// How many |x| lie in each bin of width largest / kBins.
std::vector<double> histogram(std::span<const MatrixView<const float>> windows, float largest) {
  std::vector<std::vector<double>> of_windows(windows.size(), std::vector<double>(kBins));
  const double per_bin = double(kBins) / largest;
  parallel_for(std::ssize(windows), [&](int64_t w) {
    const MatrixView<const float>& window = windows[size_t(w)];
    for (int64_t r = 0; r < window.rows; ++r)
      for (int64_t c = 0; c < window.cols; ++c)
        ++of_windows[size_t(w)][size_t(std::min(kBins - 1, int64_t(std::abs(window(r, c)) * per_bin)))];
  });
  std::vector<double> counts(kBins);
  for (const std::vector<double>& window : of_windows)
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += window[i];
  return counts;
}

// Thresholds are told in bins.
int64_t percentile_threshold(const std::vector<double>& counts) {
  const double all = std::accumulate(counts.begin(), counts.end(), 0.0);
  double below = 0;
  for (int64_t bins = 1; bins < kBins; ++bins)
    if ((below += counts[size_t(bins - 1)]) >= kKept * all) return bins;
  return kBins;
}

// KL of the first `bins` bins, with all that is clipped in the last of them, from the same on kLevels levels:
// each level shares what falls into it among those of its bins that were not empty.
double entropy_loss(const std::vector<double>& counts, int64_t bins) {
  const double all = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double inside = std::accumulate(counts.begin(), counts.begin() + bins, 0.0);
  if (inside == 0) return std::numeric_limits<double>::infinity();
  double loss = 0;
  for (int64_t level = 0; level < kLevels; ++level) {
    const int64_t begin = bins * level / kLevels, end = bins * (level + 1) / kLevels;
    double sum = 0;
    int64_t filled = 0;
    for (int64_t i = begin; i < end; ++i) {
      sum += counts[size_t(i)];
      filled += counts[size_t(i)] != 0;
    }
    for (int64_t i = begin; i < end; ++i) {
      const double count = counts[size_t(i)] + (i == bins - 1 ? all - inside : 0);
      if (count == 0) continue;
      // What is clipped into an empty last bin has no level of its own: the least that a count can be.
      const double shared = filled == 0 || counts[size_t(i)] == 0 ? 1 : sum / double(filled);
      loss += count / all * std::log(count / all * inside / shared);
    }
  }
  return loss;
}

double square_loss(const std::vector<double>& counts, int64_t bins) {
  const double scale = double(bins) / (kLevels - 1);  // in bins, as everything here
  double loss = 0;
  for (int64_t i = 0; i < kBins; ++i) {
    const double x = double(i) + 0.5;
    const double rounded = scale * std::min(std::nearbyint(x / scale), double(kLevels - 1));
    loss += counts[size_t(i)] * (x - rounded) * (x - rounded);
  }
  return loss;
}

template <class Loss>
int64_t best_threshold(const std::vector<double>& counts, const Loss& loss) {
  int64_t best = kBins;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t bins = kBins; bins >= kLevels; bins -= kLevels / 4)
    if (const double value = loss(counts, bins); value < least) {
      least = value;
      best = bins;
    }
  return best;
}

int64_t threshold(const std::vector<double>& counts, Observer observer) {
  switch (observer) {
    case Observer::minmax: break;
    case Observer::percentile: return percentile_threshold(counts);
    case Observer::entropy: return best_threshold(counts, entropy_loss);
    case Observer::mse: return best_threshold(counts, square_loss);
  }
  return kBins;
}

}  // namespace

std::string_view observer_text(Observer observer) { return kNames[size_t(observer)]; }

Observer parse_observer(std::string_view text) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == text) return Observer(i);
  throw Error(fmt::format("observer \"{}\"; expected minmax, percentile, entropy or mse", text));
}

float observe_scale(std::span<const MatrixView<const float>> windows, Observer observer) {
  const float largest = largest_magnitude(windows);
  constexpr float kSmallest = 0x1p-100f;  // as QuantizeRowKernel has it
  if (largest < kSmallest) return 1.0f / 127;
  if (observer == Observer::minmax) return largest / 127;
  const double bins = double(threshold(histogram(windows, largest), observer));
  return float(double(largest) * bins / double(kBins) / 127);
}

}  // namespace edgeq

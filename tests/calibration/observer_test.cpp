// SPDX-License-Identifier: Apache-2.0
#include "calibration/observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"
#include "models/round_inputs.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

using testing::HasSubstr;

constexpr Observer kObservers[] = {Observer::minmax, Observer::percentile, Observer::entropy, Observer::mse};

// Four windows of normal values, one of which may be a far outlier.
struct Inputs {
  explicit Inputs(float outlier) : values(kWindows, std::vector<float>(kRows * kColumns)) {
    Random random(9);
    for (auto& window : values)
      for (float& x : window) x = float(random.normal());
    if (outlier != 0) values[2][77] = outlier;
  }
  std::vector<MatrixView<const float>> windows() const {
    std::vector<MatrixView<const float>> views;
    for (const auto& window : values) views.emplace_back(window.data(), kRows, kColumns);
    return views;
  }
  float scale(Observer observer) const { return observe_scale(windows(), observer); }
  // Mean (x - rounded x)^2.
  double loss(float scale) const {
    double sum = 0;
    for (std::vector<float> window : values) {
      const std::vector<float> before = window;
      round_inputs({window.data(), kRows, kColumns}, scale);
      for (size_t i = 0; i < window.size(); ++i) sum += std::pow(double(window[i]) - before[i], 2);
    }
    return sum / double(kWindows * kRows * kColumns);
  }

  static constexpr int64_t kWindows = 4, kRows = 64, kColumns = 96;
  std::vector<std::vector<float>> values;
};

TEST(Observer, MinMaxClipsNothing) { EXPECT_FLOAT_EQ(Inputs(-30.0f).scale(Observer::minmax), 30.0f / 127); }

// All but minmax give up one value in 24576 for a finer step of the others.
TEST(Observer, OthersClipALoneOutlier) {
  const Inputs inputs(300.0f);
  for (const Observer observer : {Observer::percentile, Observer::entropy}) {
    EXPECT_LT(inputs.scale(observer), 10.0f / 127) << observer_text(observer);
    EXPECT_GT(inputs.scale(observer), 2.0f / 127) << observer_text(observer);
  }
  // Squares weigh a far value as much as it is far: clipping it would cost more than it gains.
  EXPECT_GT(inputs.scale(Observer::mse), 100.0f / 127);
  EXPECT_LT(Inputs(12.0f).scale(Observer::mse), 11.5f / 127);
}

TEST(Observer, MseFindsAnOptimumThatTheOthersDoNotBeat) {
  for (const float outlier : {0.0f, 12.0f, 60.0f}) {
    const Inputs inputs(outlier);
    const double best = inputs.loss(inputs.scale(Observer::mse));
    // The histogram's bins stand for the values: 1 % of the loss.
    for (const Observer observer : kObservers) EXPECT_LE(best, 1.01 * inputs.loss(inputs.scale(observer)));
    for (const float factor : {0.8f, 1.25f})
      EXPECT_LE(best, 1.01 * inputs.loss(factor * inputs.scale(Observer::mse))) << outlier << " " << factor;
  }
}

TEST(Observer, DoesNotDependOnTheOrderOfWindows) {
  const Inputs inputs(7.0f);
  auto windows = inputs.windows();
  std::swap(windows[0], windows[3]);
  for (const Observer observer : kObservers)
    EXPECT_EQ(observe_scale(windows, observer), inputs.scale(observer)) << observer_text(observer);
}

TEST(Observer, ConstantsAndZerosHaveAScale) {
  const std::vector<float> zeros(64, 0.0f), constants(64, -3.0f);
  for (const Observer observer : kObservers) {
    const MatrixView<const float> zero(zeros.data(), 2, 32), constant(constants.data(), 2, 32);
    EXPECT_EQ(observe_scale(std::span(&zero, 1), observer), 1.0f / 127);
    const float scale = observe_scale(std::span(&constant, 1), observer);
    EXPECT_NEAR(scale, 3.0f / 127, 0.02f / 127) << observer_text(observer);
  }
}

TEST(Observer, NamesWhatIsNotFiniteOrMissing) {
  std::vector<float> values(64, 1.0f);
  values[37] = std::numeric_limits<float>::quiet_NaN();
  const MatrixView<const float> window(values.data(), 2, 32);
  for (const Observer observer : kObservers) {
    EXPECT_THAT(error_of([&] { observe_scale(std::span(&window, 1), observer); }), HasSubstr("column 5 of"));
    EXPECT_THAT(error_of([&] { observe_scale({}, observer); }), HasSubstr("no inputs"));
  }
}

TEST(Observer, IsCalledByItsName) {
  for (const Observer observer : kObservers) EXPECT_EQ(parse_observer(observer_text(observer)), observer);
  EXPECT_THAT(error_of([] { parse_observer("max"); }),
              HasSubstr("observer \"max\"; expected minmax, percentile, entropy or mse"));
}

}  // namespace
}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "calibration/accumulate.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <vector>

#include "calibration/collect.h"
#include "core/parallel.h"
#include "core/random.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

Tensor random_rows(int64_t rows, int64_t cols, uint64_t seed) {
  Random random(seed);
  Tensor out(DType::f32, {rows, cols});
  for (int64_t i = 0; i < out.size(); ++i) out.f32()[i] = float(random.normal() + 0.3);
  return out;
}

InputStats accumulate(const std::vector<Tensor>& windows, unsigned needs, size_t per_call = 1000) {
  std::vector<MatrixView<const float>> views;
  for (const Tensor& window : windows) views.push_back(window.matrix());
  StatsAccumulator accumulator(windows.front().cols(), needs);
  for (size_t first = 0; first < views.size(); first += per_call)
    accumulator.add(std::span(views).subspan(first, std::min(per_call, views.size() - first)));
  return accumulator.finish();
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.f32(), a.f32() + a.size(), b.f32());
}

TEST(Accumulate, AgreesWithTheDefinitions) {
  const int64_t d = 300;  // more than one tile, and a tail
  const std::vector<Tensor> windows = {random_rows(50, d, 1), random_rows(7, d, 2)};
  const InputStats stats = accumulate(windows, kNeedHessian);
  EXPECT_EQ(stats.tokens, 57);
  EXPECT_EQ(stats.width(), d);
  // A sum of 57 f32 products of size up to about 10 in any order: 57 * 2^-24 * 10 / 57, and one rounding.
  const double tolerance = 2e-6;
  double worst_if_swapped = 0;
  for (int64_t i = 0; i < d; ++i) {
    double largest = 0, sum = 0, square = 0;
    for (const Tensor& window : windows) {
      for (int64_t t = 0; t < window.rows(); ++t) {
        const double x = double(window.matrix()(t, i));
        largest = std::max(largest, std::abs(x));
        sum += x;
        square += x * x;
      }
    }
    EXPECT_EQ(double(stats.abs_max.f32()[i]), largest);
    EXPECT_NEAR(stats.mean.f32()[i], sum / 57, tolerance);
    EXPECT_NEAR(stats.square_mean.f32()[i], square / 57, tolerance);
    for (int64_t j = 0; j < d; ++j) {
      double product = 0;
      for (const Tensor& window : windows)
        for (int64_t t = 0; t < window.rows(); ++t)
          product += double(window.matrix()(t, i)) * double(window.matrix()(t, j));
      ASSERT_NEAR(stats.hessian.matrix()(i, j), product / 57, tolerance) << i << " " << j;
      ASSERT_EQ(stats.hessian.matrix()(i, j), stats.hessian.matrix()(j, i));
      worst_if_swapped =
          std::max(worst_if_swapped, std::abs(double(stats.hessian.matrix()(d - 1 - i, j)) - product / 57));
    }
  }
  EXPECT_GT(worst_if_swapped, 0.1);  // control: other entries are far off
}

TEST(Accumulate, IsTheSameForAnyThreadsAndAnySplitIntoCalls) {
  std::vector<Tensor> windows;
  for (uint64_t i = 0; i < 9; ++i) windows.push_back(random_rows(33, 520, i));
  set_thread_count(1);
  const InputStats one = accumulate(windows, kNeedHessian);
  set_thread_count(2);
  for (size_t per_call : {1u, 4u, 9u}) {
    const InputStats two = accumulate(windows, kNeedHessian, per_call);
    EXPECT_TRUE(same(one.hessian, two.hessian)) << per_call;
    EXPECT_TRUE(same(one.mean, two.mean)) << per_call;
    EXPECT_TRUE(same(one.square_mean, two.square_mean)) << per_call;
    EXPECT_TRUE(same(one.abs_max, two.abs_max)) << per_call;
  }
}

TEST(Accumulate, CollectsNoHessianUnlessAsked) {
  EXPECT_TRUE(accumulate({random_rows(3, 8, 1)}, kNeedMoments).hessian.empty());
}

TEST(Accumulate, NamesTheColumnThatIsNotFinite) {
  std::vector<Tensor> windows = {random_rows(4, 8, 1)};
  windows[0].matrix()(2, 5) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(error_of([&] { accumulate(windows, kNeedMoments); }),
            "mean square of input column 5 over 4 tokens is nan; expected a finite number");
  windows[0].matrix()(2, 5) = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(error_of([&] { accumulate(windows, kNeedMoments); }),
            "mean square of input column 5 over 4 tokens is inf; expected a finite number");
}

TEST(Accumulate, RefusesToAverageNothing) {
  StatsAccumulator accumulator(8, kNeedHessian);
  EXPECT_THAT(error_of([&] { accumulator.finish(); }), testing::HasSubstr("no tokens"));
  EXPECT_THAT(error_of([&] { stage_stats({}, kNeedMoments); }), testing::HasSubstr("no windows"));
}

TEST(CrossMoment, AgreesWithItsDefinitionForAnyThreads) {
  const int64_t rows = 300, cols = 270;  // more than one tile, and tails
  const std::vector<Tensor> a = {random_rows(40, rows, 1), random_rows(9, rows, 2)},
                            b = {random_rows(40, rows, 3), random_rows(9, rows, 4)},
                            x = {random_rows(40, cols, 5), random_rows(9, cols, 6)};
  const auto views = [](const std::vector<Tensor>& windows) {
    std::vector<MatrixView<const float>> out;
    for (const Tensor& window : windows) out.push_back(window.matrix());
    return out;
  };
  set_thread_count(1);
  const Tensor one = cross_moment(views(a), views(b), views(x));
  set_thread_count(2);
  EXPECT_TRUE(same(one, cross_moment(views(a), views(b), views(x))));
  double worst_if_swapped = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (size_t w = 0; w < x.size(); ++w)
        for (int64_t t = 0; t < x[w].rows(); ++t)
          sum += (double(a[w].matrix()(t, i)) - double(b[w].matrix()(t, i))) * double(x[w].matrix()(t, j));
      ASSERT_NEAR(one.matrix()(i, j), sum / 49, 2e-6) << i << " " << j;  // as above
      worst_if_swapped =
          std::max(worst_if_swapped, std::abs(double(one.matrix()(rows - 1 - i, j)) - sum / 49));
    }
  EXPECT_GT(worst_if_swapped, 0.1);  // control
}

TEST(CrossMoment, NamesTheColumnThatIsNotFinite) {
  std::vector<Tensor> a = {random_rows(4, 8, 1)};
  const std::vector<Tensor> x = {random_rows(4, 6, 2)};
  a[0].matrix()(2, 5) = std::numeric_limits<float>::infinity();
  const std::vector<MatrixView<const float>> va = {a[0].matrix()}, vx = {x[0].matrix()};
  EXPECT_THAT(error_of([&] { cross_moment(va, va, vx); }),
              testing::HasSubstr("cross moment of input column 0"));
}

TEST(Collect, ReadsTheInputsOfAllStatesInOrder) {
  std::vector<State> states(3);
  std::vector<Tensor> windows;
  for (size_t i = 0; i < states.size(); ++i) {
    windows.push_back(random_rows(5, 16, i));
    states[i].input = windows.back();
  }
  const InputStats stats = stage_stats(states, kNeedHessian), expected = accumulate(windows, kNeedHessian);
  EXPECT_EQ(stats.tokens, 15);
  EXPECT_TRUE(same(stats.hessian, expected.hessian));
}

// Column 0 holds 1, 1, 1, 3 in four windows of one token, column 1 always 2: mean squares of 1 and 4 after
// three windows, of 3 and 4 after all.
TEST(Collect, SaysHowFarMeanSquaresMovedWithTheLastQuarterOfTheWindows) {
  std::vector<State> states(4);
  for (size_t i = 0; i < states.size(); ++i) {
    states[i].input = Tensor(DType::f32, {1, 2});
    states[i].input.matrix()(0, 0) = i == 3 ? 3.0f : 1.0f;
    states[i].input.matrix()(0, 1) = 2.0f;
  }
  EXPECT_DOUBLE_EQ(stage_stats(states, kNeedMoments).last_quarter_change, (3.0 - 1.0) / (3.0 + 4.0));
  EXPECT_EQ(stage_stats(std::span(states).first(3), kNeedMoments).last_quarter_change, 0);
}

}  // namespace
}  // namespace edgeq

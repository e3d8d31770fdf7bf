// SPDX-License-Identifier: Apache-2.0
#include "quantizers/correction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/parallel.h"
#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

constexpr int64_t kTokens = 400, kCols = 48, kRows = 70;  // more than one task of rows

// Inputs and residual stream of the float model and of a compressed one that has drifted from it.
struct Drift {
  Tensor x = random_inputs(kTokens, kCols, 0.5, 1), x_now = x;
  Tensor r = random_matrix(kTokens, kRows, 2), r_now = r;
  InputStats stats;

  Drift() {
    const Tensor noise = random_matrix(kTokens, kCols, 3), drift = random_matrix(kTokens, kRows, 4);
    for (int64_t i = 0; i < x.size(); ++i)
      x_now.f32()[i] = 0.9f * x.f32()[i] + 0.1f * x.f32()[i - i % kCols] + 0.05f * noise.f32()[i];
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t j = 0; j < kRows; ++j)
        r_now.matrix()(t, j) += 0.1f * drift.matrix()(t, j) + 0.3f * x_now.matrix()(t, j % kCols);
    stats = stats_of(x_now);
    stats.cross = moment_of_difference(x, x_now, x_now);
    stats.residual = moment_of_difference(r, r_now, x_now);
  }
  // Mean over tokens of |W X + R - Q x - r|^2, by definition.
  double error(const Tensor& w, const Tensor& q, bool residual) const {
    double sum = 0;
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t o = 0; o < kRows; ++o) {
        double d = residual ? double(r.matrix()(t, o)) - double(r_now.matrix()(t, o)) : 0.0;
        for (int64_t c = 0; c < kCols; ++c)
          d += double(w.matrix()(o, c)) * double(x.matrix()(t, c)) -
               double(q.matrix()(o, c)) * double(x_now.matrix()(t, c));
        sum += d * d / double(kTokens);
      }
    return sum;
  }
};

TEST(Correction, IsTheLeastErrorThatAnyWeightCanHave) {
  const Drift drift;
  const Tensor w = random_matrix(kRows, kCols, 5);
  for (bool residual : {true, false}) {
    const Tensor best =
        correct_weight(w.matrix(), drift.stats, {.strength = 1, .damping = 0, .residual = residual}).target;
    const double least = drift.error(w, best, residual);
    EXPECT_LT(least, 0.7 * drift.error(w, w, residual));
    for (uint64_t seed = 10; seed < 14; ++seed) {
      // Any step away raises the error, by the same in both directions: the derivative is zero there.
      const Tensor step = random_matrix(kRows, kCols, seed);
      Tensor plus = best, minus = best;
      for (int64_t i = 0; i < best.size(); ++i) {
        plus.f32()[i] += 0.01f * step.f32()[i];
        minus.f32()[i] -= 0.01f * step.f32()[i];
      }
      const double up = drift.error(w, plus, residual) - least,
                   down = drift.error(w, minus, residual) - least;
      EXPECT_GT(up, 0);
      // f32 weights and moments: 2^-24 of terms that are some hundred times `up`.
      EXPECT_NEAR(up / down, 1, 0.01);
    }
    // control: the same step away from a weight that is not the best does not cost the same both ways
    const double other = drift.error(w, w, residual);
    Tensor plus = w, minus = w;
    for (int64_t i = 0; i < w.size(); ++i) {
      const float step = 0.01f * (best.f32()[i] - w.f32()[i]);
      plus.f32()[i] += step;
      minus.f32()[i] -= step;
    }
    EXPECT_LT(drift.error(w, plus, residual) - other, 0);
  }
}

TEST(Correction, GoesPartOfTheWay) {
  const Drift drift;
  const Tensor w = random_matrix(kRows, kCols, 6);
  const auto at = [&](double strength) {
    return correct_weight(w.matrix(), drift.stats, {.strength = strength}).target;
  };
  const Tensor none = at(0), half = at(0.5), whole = at(1);
  for (int64_t i = 0; i < w.size(); ++i) {
    EXPECT_EQ(none.f32()[i], w.f32()[i]);
    EXPECT_NEAR(half.f32()[i], 0.5f * (w.f32()[i] + whole.f32()[i]),
                1e-6f + 1e-6f * std::abs(whole.f32()[i]));
  }
  EXPECT_LT(drift.error(w, half, true), drift.error(w, w, true));
}

TEST(Correction, ChangesNothingWhenTheStreamsAgree) {
  Drift drift;
  drift.stats.cross = Tensor(DType::f32, {kCols, kCols});
  drift.stats.residual = {};
  const Tensor w = random_matrix(kRows, kCols, 7);
  const Tensor same = correct_weight(w.matrix(), drift.stats, {}).target;
  for (int64_t i = 0; i < w.size(); ++i) EXPECT_EQ(same.f32()[i], w.f32()[i]);
}

TEST(Correction, IsTheSameForOneAndTwoThreads) {
  const Drift drift;
  const Tensor w = random_matrix(kRows, kCols, 8);
  set_thread_count(1);
  const Tensor one = correct_weight(w.matrix(), drift.stats, {}).target;
  set_thread_count(2);
  const Tensor two = correct_weight(w.matrix(), drift.stats, {}).target;
  EXPECT_TRUE(std::equal(one.f32(), one.f32() + one.size(), two.f32()));
}

// Fewer tokens than columns, a dead column and two equal ones: H is singular.
TEST(Correction, OfARankDeficientHessianIsFiniteAndSaysThatDampingWasRaised) {
  Tensor x = random_inputs(5, kCols, 0.5, 9);
  for (int64_t t = 0; t < x.rows(); ++t) {
    x.matrix()(t, 3) = 0;
    x.matrix()(t, 7) = x.matrix()(t, 8);
  }
  InputStats stats = stats_of(x);
  stats.cross = stats.hessian;
  const Tensor w = random_matrix(4, kCols, 10);
  const CorrectedWeight result = correct_weight(w.matrix(), stats, {.strength = 1, .damping = 0});
  EXPECT_GT(result.damping_raises, 0);
  EXPECT_GT(result.damping, 0);
  for (int64_t i = 0; i < w.size(); ++i) ASSERT_TRUE(std::isfinite(result.target.f32()[i]));
  for (int64_t r = 0; r < 4; ++r)
    EXPECT_EQ(result.target.matrix()(r, 3), w.matrix()(r, 3)) << "nothing is known of a dead input";
}

TEST(Correction, RefusesBadOptionsAndMissingMoments) {
  const auto options = [](const char* name, const char* value) {
    return error_of([&] { make_correction(Options(std::map<std::string, std::string>{{name, value}})); });
  };
  EXPECT_THAT(options("strength", "2"), testing::HasSubstr("option strength is \"2\""));
  EXPECT_THAT(options("damp", "nan"), testing::HasSubstr("option damp is \"nan\""));
  EXPECT_THAT(options("strenght", "1"), testing::AllOf(testing::HasSubstr("correct: unknown option strenght"),
                                                       testing::HasSubstr("residual")));
  const InputStats stats = stats_of(random_inputs(30, kCols, 0.5, 11));
  EXPECT_THAT(error_of([&] { correct_weight(random_matrix(2, kCols, 12).matrix(), stats, {}); }),
              testing::HasSubstr("without cross moments"));
}

}  // namespace
}  // namespace edgeq

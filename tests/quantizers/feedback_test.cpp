// SPDX-License-Identifier: Apache-2.0
#include "quantizers/feedback.h"

#include <gmock/gmock.h>

#include "tests/quantizers/samples.h"
#include "tests/support/message.h"

namespace edgeq {
namespace {

// Largest entry of |U H' U^T - I|, with H' damped and in rounding order.
double identity_error(const Feedback& f, const Tensor& hessian) {
  const int64_t d = hessian.rows();
  const auto h = hessian.matrix();
  const auto u = f.upper.matrix();
  double mean = 0, worst = 0;
  for (int64_t j = 0; j < d; ++j) mean += double(h(j, j)) / double(d);
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t j = 0; j < d; ++j) {
      double sum = 0;
      for (int64_t a = i; a < d; ++a) {
        for (int64_t b = j; b < d; ++b) {
          const double entry =
              double(h(f.order[size_t(a)], f.order[size_t(b)])) + (a == b ? f.damping * mean : 0);
          sum += double(u(i, a)) * entry * double(u(j, b));
        }
      }
      worst = std::max(worst, std::abs(sum - (i == j ? 1 : 0)));
    }
  }
  return worst;
}

TEST(Feedback, TheFactorInvertsTheDampedHessianInRoundingOrder) {
  const InputStats stats = stats_of(random_inputs(200, 48, 0.6, 1));
  for (ColumnOrder order : {ColumnOrder::none, ColumnOrder::group}) {
    Feedback f = make_feedback(stats.hessian.matrix(), {16, 16}, order, 0.01);
    // U is stored in f32 and H' has a condition number below 1e4: 2^-24 * 1e4 bounds what that costs.
    EXPECT_LT(identity_error(f, stats.hessian), 1e4 * 0x1p-24);
    f.damping = 0.011;  // control
    EXPECT_GT(identity_error(f, stats.hessian), 1e4 * 0x1p-24);
    for (int64_t i = 1; i < 48; ++i)
      for (int64_t j = 0; j < i; ++j) ASSERT_EQ(f.upper.matrix()(i, j), 0.0f);
  }
}

TEST(Feedback, GroupOrderKeepsGroupsTogetherAndPutsLargeColumnsFirst) {
  const int64_t d = 48, group = 16;
  const InputStats stats = stats_of(random_inputs(100, d, 0.3, 2));
  const auto h = stats.hessian.matrix();
  const auto order = column_order(h, {group, group}, ColumnOrder::group);
  std::vector<bool> seen(size_t(d), false);
  for (int64_t k = 0; k < d; ++k) {
    const int64_t column = order[size_t(k)];
    EXPECT_FALSE(seen[size_t(column)]);
    seen[size_t(column)] = true;
    if (k % group == 0) continue;
    const int64_t before = order[size_t(k - 1)];
    EXPECT_EQ(column / group, before / group);
    EXPECT_LE(h(column, column), h(before, before));
  }
  for (int64_t k = group; k < d; k += group)
    EXPECT_LE(h(order[size_t(k)], order[size_t(k)]), h(order[size_t(k - group)], order[size_t(k - group)]));
}

TEST(Feedback, RaisesTheDampingOfASingularHessianAndSaysSo) {
  // Two tokens cannot fill 12 dimensions; the diagonal is made to lack 5 % besides, so that 1 % does not
  // suffice.
  InputStats stats = stats_of(random_inputs(2, 12, 0, 3));
  double mean = 0;
  for (int64_t j = 0; j < 12; ++j) mean += double(stats.hessian.matrix()(j, j)) / 12;
  for (int64_t j = 0; j < 12; ++j) stats.hessian.matrix()(j, j) -= float(0.05 * mean);
  const Feedback f = make_feedback(stats.hessian.matrix(), {4, 4}, ColumnOrder::group, 0.01);
  EXPECT_EQ(f.damping_raises, 1);
  EXPECT_DOUBLE_EQ(f.damping, 0.1);
  EXPECT_LT(identity_error(f, stats.hessian), 1e-4);

  const Feedback from_nothing = make_feedback(stats.hessian.matrix(), {4, 4}, ColumnOrder::group, 0);
  EXPECT_GT(from_nothing.damping_raises, 1);
  EXPECT_GE(from_nothing.damping, 0.05);
}

TEST(Feedback, RefusesWhatNoDampingCures) {
  Tensor hessian(DType::f32, {2, 2});
  hessian.f32()[0] = hessian.f32()[3] = 1;
  hessian.f32()[1] = hessian.f32()[2] = 100;
  EXPECT_EQ(error_of([&] {
              make_feedback(hessian.matrix(), {2, 2}, ColumnOrder::none, 0.01);
            }),
            "the second moment of the inputs is not positive definite even with damping 10");
}

}  // namespace
}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
#include "pruning/elimination.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "calibration/damped_factor.h"
#include "core/parallel.h"
#include "pruning/structure.h"
#include "tests/quantizers/samples.h"

namespace edgeq {
namespace {

constexpr int64_t kCols = 24, kRows = 10, kWidth = 4;

// The least error at the outputs over all weights of the columns that are left, with the damped moment: by
// its definition, tr(W S W^T), S the Schur complement of the columns that are left.
double least_error(const Tensor& weight, const Tensor& hessian, std::vector<int64_t> gone_units) {
  std::vector<int64_t> left;
  for (int64_t u = 0; u < kCols / kWidth; ++u)
    if (std::ranges::count(gone_units, u) == 0) left.push_back(u);
  Tensor damped = hessian;
  const double shift = 0.01 * mean_diagonal(hessian.matrix());
  for (int64_t i = 0; i < kCols; ++i) damped.matrix()(i, i) += float(shift);
  const auto gone = columns_of(gone_units, kWidth), kept = columns_of(left, kWidth);
  const Tensor wg = take_columns(weight.matrix(), gone, 1);
  const Tensor gg = take_rows(take_columns(damped.matrix(), gone, 1).matrix(), gone, 1);
  const Tensor gk = take_rows(take_columns(damped.matrix(), kept, 1).matrix(), gone, 1);
  const Tensor kk = take_rows(take_columns(damped.matrix(), kept, 1).matrix(), kept, 1);
  const DampedFactor factor = factor_damped(kk.matrix(), 0);
  double error = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<double> row(kept.size(), 0.0), solved;
    for (size_t k = 0; k < kept.size(); ++k)
      for (size_t g = 0; g < gone.size(); ++g)
        row[k] += double(wg.matrix()(r, int64_t(g))) * double(gk.matrix()(int64_t(g), int64_t(k)));
    solved = row;
    solve_from_right(factor, MatrixView<double>(solved.data(), 1, std::ssize(kept)));
    for (size_t g = 0; g < gone.size(); ++g)
      for (size_t h = 0; h < gone.size(); ++h)
        error += double(wg.matrix()(r, int64_t(g))) * double(gg.matrix()(int64_t(g), int64_t(h))) *
                 double(wg.matrix()(r, int64_t(h)));
    for (size_t k = 0; k < kept.size(); ++k) error -= row[k] * solved[k];
  }
  return error;
}

struct Problem {
  Tensor weight = random_matrix(kRows, kCols, 1),
         hessian = stats_of(random_inputs(300, kCols, 0.6, 2)).hessian;
};

TEST(Elimination, CostsAreWhatLeastSquaresLeaves) {
  const Problem p;
  Elimination elimination(p.weight.matrix(), p.hessian.matrix(), kWidth);
  const std::vector<double> costs = elimination.costs();
  for (int64_t u = 0; u < kCols / kWidth; ++u) {
    const double expected = least_error(p.weight, p.hessian, {u});
    // f32 moments: 2^-24 of terms that are some ten times the result.
    EXPECT_NEAR(costs[size_t(u)] / expected, 1, 1e-4) << u;
    EXPECT_GT(std::abs(1.05 * costs[size_t(u)] / expected - 1), 1e-4) << "a 5 % error must show";
  }
}

TEST(Elimination, CostsAddUpToThatOfAllThatWent) {
  const Problem p;
  Elimination elimination(p.weight.matrix(), p.hessian.matrix(), kWidth);
  double sum = 0;
  for (const int64_t u : {4, 0, 2}) {
    sum += elimination.costs()[size_t(u)];
    elimination.remove(u);
    EXPECT_TRUE(std::isinf(elimination.costs()[size_t(u)]));
  }
  EXPECT_NEAR(sum / least_error(p.weight, p.hessian, {0, 2, 4}), 1, 1e-3);
}

TEST(Elimination, TheLeastCostlyGoFirstAmongThoseThatMay) {
  const Problem p;
  const auto order = [&](auto may_go) {
    return Elimination(p.weight.matrix(), p.hessian.matrix(), kWidth).remove_least(3, 1, may_go);
  };
  const auto free = order([](int64_t) { return true; });
  std::vector<int64_t> sorted = free;
  std::ranges::sort(sorted);
  double least = least_error(p.weight, p.hessian, {free[0]});
  for (int64_t u = 0; u < kCols / kWidth; ++u)
    EXPECT_LE(least, 1.0001 * least_error(p.weight, p.hessian, {u}));
  const auto bound = order([&](int64_t u) { return u != free[0]; });
  EXPECT_EQ(std::ranges::count(bound, free[0]), 0);
  set_thread_count(1);
  const auto one = order([](int64_t) { return true; });
  set_thread_count(2);
  EXPECT_EQ(one, free);
}

TEST(Elimination, OfAnInputThatIsDeadCostsNothing) {
  Tensor x = random_inputs(100, kCols, 0.5, 3);
  for (int64_t t = 0; t < x.rows(); ++t)
    for (int64_t c = 8; c < 12; ++c) x.matrix()(t, c) = 0;
  const InputStats stats = stats_of(x);
  const Tensor weight = random_matrix(kRows, kCols, 4);
  Elimination elimination(weight.matrix(), stats.hessian.matrix(), kWidth);
  EXPECT_EQ(elimination.remove_least(1, 1, [](int64_t) { return true; })[0], 2);
}

}  // namespace
}  // namespace edgeq

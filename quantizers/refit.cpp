// SPDX-License-Identifier: Apache-2.0
// Least-squares group scales for frozen codes. With l_j the levels of group j, a row's error is a quadratic
// in its scales s; the step to its least value solves
//   (A + ridge) ds = r,   A_jk = l_j' H'_jk l_k,   r_j = l_j' ((target - w) H')_j
// where the ridge, a thousandth of A's diagonal, pulls towards the scales there are. Scales are then rounded
// to their store one after another, each on what the rounding of the others left. Two-stage grid optimisation
// (arXiv 2602.02126).
#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>

#include "quantizers/methods.h"
#include "quantizers/refine_rows.h"

namespace edgeq {
namespace {

constexpr double kRidge = 1e-3;

struct ScaleProblem {
  Eigen::MatrixXd a;  // [groups, groups]
  Eigen::VectorXd r;  // [groups]
};

ScaleProblem scale_problem(const QuantScheme& scheme, MatrixView<const float> damped, const RefinedRow& row) {
  const int64_t d = damped.cols, group = scheme.group_size(d), groups = scheme.groups(d);
  std::vector<float> levels(size_t(d), 0.0f), product(size_t(d), 0.0f);
  for (int64_t c = 0; c < d; ++c) {
    const GroupGrid unit{.scale = 1, .zero = row.grids[size_t(c / group)].zero};
    levels[size_t(c)] = code_value(scheme, unit, row.codes[size_t(c)]);
  }
  ScaleProblem problem{.a = Eigen::MatrixXd(groups, groups), .r = Eigen::VectorXd::Zero(groups)};
  for (int64_t j = 0; j < groups; ++j) {
    std::fill(product.begin(), product.end(), 0.0f);
    for (int64_t c = j * group; c < (j + 1) * group; ++c) {
      const float level = levels[size_t(c)];
      const float* h = damped.row(c);
      for (int64_t k = 0; k < d; ++k) product[size_t(k)] += level * h[k];
      problem.r(j) += double(level) * double(row.gradient[size_t(c)]);
    }
    for (int64_t k = 0; k < groups; ++k) {
      double sum = 0;
      for (int64_t c = k * group; c < (k + 1) * group; ++c)
        sum += double(product[size_t(c)]) * double(levels[size_t(c)]);
      problem.a(j, k) = sum;
    }
  }
  return problem;
}

// The nearest scale to `wanted` that the group can have and that is not 0: a code times the outer scale that
// it has, or what a flat store holds.
GroupGrid with_scale(const QuantScheme& scheme, GroupGrid grid, double wanted) {
  if (!scheme.two_level()) {
    const float scale = stored_scale(float(wanted), scheme.store);
    if (std::isfinite(scale) && scale != 0) grid.scale = scale;
    return grid;
  }
  if (grid.scale_code == 0) return grid;
  const double outer = double(grid.scale) / double(grid.scale_code);
  const bool unsigned_codes = scheme.store == ScaleStore::u6_super;
  const double code = std::clamp(std::nearbyint(wanted / outer), unsigned_codes ? 1.0 : -127.0,
                                 unsigned_codes ? 63.0 : 127.0);
  if (code == 0) return grid;
  grid.scale = float(outer * code);
  grid.scale_code = int8_t(code);
  return grid;
}

void refit_row(const QuantScheme& scheme, MatrixView<const float> damped, RefinedRow& row) {
  ScaleProblem problem = scale_problem(scheme, damped, row);
  const Eigen::VectorXd diagonal = problem.a.diagonal();
  if (!(diagonal.sum() > 0)) return;  // every level is 0: no scale matters
  Eigen::MatrixXd ridged = problem.a;
  ridged.diagonal() += kRidge * diagonal;
  ridged.diagonal().array() += 1e-12 * diagonal.mean();
  const Eigen::VectorXd step = ridged.ldlt().solve(problem.r);
  // A scale moves to `wanted` as far as its store allows; what is left of r follows.
  const auto move = [&](Eigen::Index j, double wanted) {
    GroupGrid& grid = row.grids[size_t(j)];
    const GroupGrid moved = with_scale(scheme, grid, wanted);
    problem.r -= problem.a.col(j) * (double(moved.scale) - double(grid.scale));
    grid = moved;
  };
  for (Eigen::Index j = 0; j < step.size(); ++j)
    if (diagonal(j) > 0) move(j, double(row.grids[size_t(j)].scale) + step(j));
  for (Eigen::Index j = 0; j < step.size(); ++j)
    if (diagonal(j) > 0) move(j, double(row.grids[size_t(j)].scale) + problem.r(j) / diagonal(j));
}

class Refit final : public Refiner {
 public:
  void refine(QuantizedTensor& q, MatrixView<const float> target, const InputStats& stats) const override {
    refine_rows(q, target, stats, refit_row);
  }
};

}  // namespace

std::unique_ptr<Refiner> make_refit() { return std::make_unique<Refit>(); }

}  // namespace edgeq

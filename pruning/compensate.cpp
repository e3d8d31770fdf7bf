// SPDX-License-Identifier: Apache-2.0
#include "pruning/compensate.h"

#include <algorithm>
#include <vector>

#include "calibration/damped_factor.h"
#include "core/error.h"
#include "pruning/structure.h"

namespace edgeq {
namespace {

// matrix - a b^T
void subtract_product(MatrixView<float> matrix, const Tensor& a, const Tensor& b) {
  for (int64_t i = 0; i < matrix.rows; ++i)
    for (int64_t j = 0; j < matrix.cols; ++j) matrix(i, j) -= a.f32()[i] * b.f32()[j];
}

double dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

// Of x, the kept columns, and of what the reader has lost, X - x~.
struct Moments {
  Tensor hessian, mean;      // [k, k] E x x^T, [k] E x
  Tensor cross, cross_mean;  // [d, k] E (X - x~) x^T, [d] E (X - x~)
  Tensor residual;           // [out, k] E (R - r) x^T
};

// About the means when `centred`. X - x~ is the drift X - x and, in the columns that go, x itself.
Moments moments_of_kept(const InputStats& inputs, std::span<const int64_t> kept, bool centred,
                        bool residual) {
  const int64_t d = inputs.width();
  std::vector<bool> stays(size_t(d), false);
  for (const int64_t column : kept) stays[size_t(column)] = true;
  Moments m;
  const Tensor columns = take_columns(inputs.hessian.matrix(), kept, 1);
  m.hessian = take_rows(columns.matrix(), kept, 1);
  m.cross = take_columns(inputs.cross.matrix(), kept, 1);
  for (int64_t i = 0; i < d; ++i)
    if (!stays[size_t(i)])
      for (int64_t j = 0; j < m.cross.cols(); ++j) m.cross.matrix()(i, j) += columns.matrix()(i, j);
  if (residual) m.residual = take_columns(inputs.residual.matrix(), kept, 1);
  if (!centred) return m;
  m.mean = take_columns(MatrixView<const float>(inputs.mean.f32(), 1, d), kept, 1);
  m.cross_mean = inputs.drift;
  for (int64_t i = 0; i < d; ++i)
    if (!stays[size_t(i)]) m.cross_mean.f32()[i] += inputs.mean.f32()[i];
  subtract_product(m.hessian.matrix(), m.mean, m.mean);
  subtract_product(m.cross.matrix(), m.cross_mean, m.mean);
  if (residual) subtract_product(m.residual.matrix(), inputs.residual_drift, m.mean);
  return m;
}

}  // namespace

CompensationNotes compensate(Site& site, std::span<const int64_t> kept, const InputStats& inputs,
                             const Compensation& how) {
  const int64_t out = site.weight.rows(), d = site.weight.cols(), k = std::ssize(kept);
  EDGEQ_CHECK(inputs.hessian.rows() == d && inputs.cross.rows() == d, "moments of all the reader's inputs");
  const bool residual = !inputs.residual.empty() && how.residual != 0, centred = !site.bias.empty();
  const Moments moments = moments_of_kept(inputs, kept, centred, residual);
  const DampedFactor factor = factor_damped(moments.hessian.matrix(), how.damping);
  const Tensor before = take_columns(site.weight.matrix(), kept, 1);
  Tensor after(DType::f32, {out, k});
  const Lack lack{.inputs = moments.cross, .outputs = moments.residual, .share = how.residual};
  for_each_step(
      std::as_const(site.weight).matrix(), lack, factor, [&](int64_t first, MatrixView<const double> steps) {
        for (int64_t r = 0; r < steps.rows; ++r)
          for (int64_t c = 0; c < k; ++c)
            after.matrix()(first + r, c) = float(double(before.matrix()(first + r, c)) + steps(r, c));
      });
  if (centred)
    for (int64_t r = 0; r < out; ++r) {
      Tensor step = Tensor(DType::f32, {k});
      for (int64_t c = 0; c < k; ++c) step.f32()[c] = after.matrix()(r, c) - before.matrix()(r, c);
      double bias = dot(site.weight.matrix().row(r), moments.cross_mean.f32(), d) -
                    dot(step.f32(), moments.mean.f32(), k);
      if (residual) bias += how.residual * double(inputs.residual_drift.f32()[r]);
      site.bias.f32()[r] += float(bias);
    }
  site.weight = std::move(after);
  return {.damping = factor.damping, .raises = factor.raises};
}

}  // namespace edgeq

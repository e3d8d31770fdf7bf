// SPDX-License-Identifier: Apache-2.0
#include "quantizers/output_error.h"

#include <cblas.h>

#include <algorithm>
#include <vector>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 64;  // of one product; sums over blocks are taken in order

// tr(A H A^T) for a block A of rows. The products are in f32, as H is; the sums in double.
double energy(MatrixView<const float> a, MatrixView<const float> h) {
  std::vector<float> product(size_t(a.rows * h.cols));
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(a.rows), int(h.cols), int(a.cols), 1, a.data,
              int(a.stride), h.data, int(h.stride), 0, product.data(), int(h.cols));
  double sum = 0;
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t c = 0; c < a.cols; ++c) sum += double(a(r, c)) * double(product[size_t(r * h.cols + c)]);
  return sum;
}

double diagonal_energy(MatrixView<const float> a, const float* square_mean) {
  double sum = 0;
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t c = 0; c < a.cols; ++c) sum += double(a(r, c)) * double(a(r, c)) * double(square_mean[c]);
  return sum;
}

struct Energies {
  double difference = 0, weight = 0;
};

}  // namespace

OutputError output_error(MatrixView<const float> weight, MatrixView<const float> candidate,
                         const InputStats& stats) {
  EDGEQ_CHECK(weight.rows == candidate.rows && weight.cols == candidate.cols && stats.width() == weight.cols,
              "weight, candidate and statistics belong together");
  const auto energy_of = [&](MatrixView<const float> a) {
    return stats.hessian.empty() ? diagonal_energy(a, stats.square_mean.f32())
                                 : energy(a, stats.hessian.matrix());
  };
  std::vector<Energies> blocks(size_t((weight.rows + kRows - 1) / kRows));
  const OneBlasThread one_blas_thread;
  parallel_for(int64_t(blocks.size()), [&](int64_t b) {
    const int64_t first = b * kRows, count = std::min(kRows, weight.rows - first);
    const auto w = weight.slice_rows(first, count), q = candidate.slice_rows(first, count);
    std::vector<float> difference(size_t(count * weight.cols));
    const MatrixView<float> d(difference.data(), count, weight.cols);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < weight.cols; ++c) d(r, c) = w(r, c) - q(r, c);
    blocks[size_t(b)] = {.difference = energy_of(d), .weight = energy_of(w)};
  });

  Energies total;
  for (const Energies& block : blocks) {
    total.difference += block.difference;
    total.weight += block.weight;
  }
  // H is positive semi-definite; what lies below 0 is rounding.
  OutputError error{.squared = std::max(0.0, total.difference)};
  if (total.weight > 0) error.relative = error.squared / total.weight;
  return error;
}

}  // namespace edgeq

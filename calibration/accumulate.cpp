// SPDX-License-Identifier: Apache-2.0
#include "calibration/accumulate.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/parallel.h"

namespace edgeq {
namespace {

constexpr int64_t kTile = 256;          // columns a side: large enough for BLAS, enough tiles for the threads
constexpr int64_t kMomentColumns = 64;  // columns that one task of add_moments owns

Tensor means(std::span<const double> sums, int64_t tokens) {
  Tensor out(DType::f32, {int64_t(sums.size())});
  for (size_t j = 0; j < sums.size(); ++j) out.f32()[j] = float(sums[j] / double(tokens));
  return out;
}

void require_finite(const Tensor& values, const char* what, int64_t tokens) {
  for (int64_t j = 0; j < values.size(); ++j) {
    const float value = values.f32()[j];
    if (!std::isfinite(value))
      throw Error(fmt::format("{} of input column {} over {} tokens is {}; expected a finite number", what,
                              j % values.cols(), tokens, value));
  }
}

// Tiles of a matrix that fill it, from its upper left corner on.
std::vector<std::pair<int64_t, int64_t>> tiles_of(int64_t rows, int64_t cols) {
  std::vector<std::pair<int64_t, int64_t>> tiles;
  for (int64_t i = 0; i < rows; i += kTile)
    for (int64_t j = 0; j < cols; j += kTile) tiles.emplace_back(i, j);
  return tiles;
}

}  // namespace

StatsAccumulator::StatsAccumulator(int64_t width, unsigned needs)
    : width_(width), abs_max_(size_t(width)), sums_(size_t(width)), square_sums_(size_t(width)) {
  if ((needs & kNeedHessian) != 0) products_ = Tensor(DType::f32, {width, width});
}

void StatsAccumulator::add(std::span<const MatrixView<const float>> windows) {
  for (const auto& window : windows) {
    EDGEQ_CHECK(window.cols == width_, "a window is as wide as its statistics");
    tokens_ += window.rows;
  }
  add_moments(windows);
  if (!products_.empty()) add_products(windows);
}

void StatsAccumulator::add_moments(std::span<const MatrixView<const float>> windows) {
  parallel_for((width_ + kMomentColumns - 1) / kMomentColumns, [&](int64_t task) {
    const int64_t begin = task * kMomentColumns, end = std::min(width_, begin + kMomentColumns);
    for (const auto& window : windows) {
      for (int64_t r = 0; r < window.rows; ++r) {
        const float* x = window.row(r);
        for (int64_t j = begin; j < end; ++j) {
          abs_max_[size_t(j)] = std::max(abs_max_[size_t(j)], std::abs(x[j]));
          sums_[size_t(j)] += double(x[j]);
          square_sums_[size_t(j)] += double(x[j]) * double(x[j]);
        }
      }
    }
  });
}

void StatsAccumulator::add_products(std::span<const MatrixView<const float>> windows) {
  auto tiles = tiles_of(width_, width_);
  std::erase_if(tiles, [](const auto& tile) { return tile.second < tile.first; });

  const OneBlasThread one_blas_thread;
  parallel_for(int64_t(tiles.size()), [&](int64_t t) {
    const auto [top, left] = tiles[size_t(t)];
    const int rows = int(std::min(kTile, width_ - top)), cols = int(std::min(kTile, width_ - left));
    float* tile = products_.f32() + top * width_ + left;
    for (const auto& x : windows) {
      const int stride = int(x.stride);
      if (top == left) {
        cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, rows, int(x.rows), 1, x.data + top, stride, 1,
                    tile, int(width_));
      } else {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, rows, cols, int(x.rows), 1, x.data + top, stride,
                    x.data + left, stride, 1, tile, int(width_));
      }
    }
  });
}

std::vector<double> StatsAccumulator::square_means() const {
  std::vector<double> means = square_sums_;
  for (double& mean : means) mean /= double(tokens_);
  return means;
}

InputStats StatsAccumulator::finish() {
  if (tokens_ == 0) throw Error("calibration saw no tokens; expected at least one window");
  InputStats stats;
  stats.tokens = tokens_;
  stats.abs_max = Tensor(DType::f32, {width_});
  std::copy(abs_max_.begin(), abs_max_.end(), stats.abs_max.f32());
  stats.mean = means(sums_, tokens_);
  stats.square_mean = means(square_sums_, tokens_);
  require_finite(stats.square_mean, "mean square",
                 tokens_);  // a sum keeps NaN and infinity, a maximum need not
  if (products_.empty()) return stats;

  stats.hessian = std::move(products_);
  const MatrixView<float> h = stats.hessian.matrix();
  const double scale = 1 / double(tokens_);
  for (int64_t i = 0; i < width_; ++i)
    for (int64_t j = i; j < width_; ++j) h(i, j) = h(j, i) = float(double(h(i, j)) * scale);
  require_finite(stats.hessian, "second moment", tokens_);
  return stats;
}

Tensor cross_moment(std::span<const MatrixView<const float>> a, std::span<const MatrixView<const float>> b,
                    std::span<const MatrixView<const float>> x) {
  EDGEQ_CHECK(a.size() == x.size() && b.size() == x.size(), "every window is there three times");
  int64_t tokens = 0;
  for (const auto& window : x) tokens += window.rows;
  if (tokens == 0) throw Error("calibration saw no tokens; expected at least one window");
  const int64_t rows = a.front().cols, cols = x.front().cols;
  Tensor moment(DType::f32, {rows, cols});
  const auto tiles = tiles_of(rows, cols);
  const OneBlasThread one_blas_thread;
  parallel_for(int64_t(tiles.size()), [&](int64_t t) {
    const auto [top, left] = tiles[size_t(t)];
    const int64_t height = std::min(kTile, rows - top), width = std::min(kTile, cols - left);
    float* tile = moment.f32() + top * cols + left;
    std::vector<float> difference;
    for (size_t w = 0; w < x.size(); ++w) {
      EDGEQ_CHECK(a[w].rows == x[w].rows && b[w].rows == x[w].rows, "windows that belong together");
      difference.resize(size_t(x[w].rows * height));
      for (int64_t r = 0; r < x[w].rows; ++r)
        for (int64_t i = 0; i < height; ++i)
          difference[size_t(r * height + i)] = a[w](r, top + i) - b[w](r, top + i);
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, int(height), int(width), int(x[w].rows), 1,
                  difference.data(), int(height), x[w].data + left, int(x[w].stride), 1, tile, int(cols));
    }
    for (int64_t r = 0; r < height; ++r)
      for (int64_t c = 0; c < width; ++c)
        tile[r * cols + c] = float(double(tile[r * cols + c]) / double(tokens));
  });
  require_finite(moment, "cross moment", tokens);
  return moment;
}

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// Rounding with error feedback. Columns are rounded one after another; the error of each is spread over those
// not yet rounded so that the layer's output changes least. Exact for the second moment H of the inputs:
//   H'^-1 = U^T U;  for j = 0..d-1:  q_j = grid(w_j);  e = (w_j - q_j) / U_jj;  w[j+1:] -= e U[j, j+1:]
// Frantar et al., "GPTQ", 2023 (arXiv 2210.17323); the order keeps groups together (GAR, as in GPTQModel);
// the grid of a group is chosen on the columns as fed back when the group begins, weighted by 1/U_jj^2, which
// is what an error will cost after feedback.
//
// Rows are independent: quantizing stacked matrices that share an input equals quantizing them one by one.
#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/parallel.h"
#include "quantizers/feedback.h"
#include "quantizers/grid.h"
#include "quantizers/methods.h"

namespace edgeq {
namespace {

constexpr int64_t kRows = 64;      // of a task; every product has this many, so that a row's result does not
                                   // depend on its neighbours
constexpr int64_t kColumns = 128;  // rounded before their errors reach the columns behind them in one product

constexpr float kHeadRoom = 1.1f;  // of outer scales, for groups that grow by the errors fed back to them

enum class ScaleWeights : uint8_t { feedback, hessian, none };

struct GptqOptions {
  QuantScheme scheme;
  double damping = 0.01;
  ColumnOrder order = ColumnOrder::group;
  ScaleWeights scale_weights = ScaleWeights::feedback;
  GridSearch search = GridSearch::mse;
  int least_zero = 0;
};

std::vector<float> grid_importance(const Feedback& feedback, ScaleWeights weights) {
  const auto d = feedback.order.size();
  switch (weights) {
    case ScaleWeights::none: return {};
    case ScaleWeights::hessian: return feedback.diagonal;
    case ScaleWeights::feedback: break;
  }
  std::vector<float> importance(d);
  const auto upper = feedback.upper.matrix();
  for (size_t j = 0; j < d; ++j) {
    const float u = upper(int64_t(j), int64_t(j));
    importance[j] = 1 / (u * u);
  }
  return importance;
}

// Where the block of columns that begins at `begin` ends. A block that begins inside a wide group ends with
// it at the latest, and a narrow group is never cut: its grid needs all its columns fed back.
int64_t block_end(int64_t begin, int64_t group, int64_t cols) {
  if (group <= kColumns) return std::min(cols, begin + kColumns / group * group);
  return std::min(begin + kColumns, (begin / group + 1) * group);
}

// Up to kRows rows of one matrix on their way through the columns.
class RowBlock {
 public:
  RowBlock(const GptqOptions& options, const Feedback& feedback, std::span<const float> importance,
           MatrixView<const float> target)
      : options_(options),
        feedback_(feedback),
        importance_(importance),
        upper_(feedback.upper.matrix()),
        rows_(target.rows),
        cols_(target.cols),
        group_(options.scheme.group_size(target.cols)),
        weights_(size_t(kRows * cols_)),
        errors_(size_t(kRows * kColumns)),
        codes_(size_t(kRows * cols_)),
        grids_(size_t(kRows * options.scheme.groups(cols_))),
        outers_(options.scheme.two_level() ? grids_.size() : 0) {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t k = 0; k < cols_; ++k) {
        const int64_t column = feedback.order[size_t(k)];
        weights_[size_t(r * cols_ + k)] = feedback.dead[size_t(column)] ? 0.0f : target(r, column);
      }
  }

  void round_all() {
    for (int64_t begin = 0, end = 0; begin < cols_; begin = end) {
      end = block_end(begin, group_, cols_);
      for (int64_t r = 0; r < rows_; ++r) round_row(r, begin, end);
      if (end < cols_) feed_back(begin, end);
    }
  }

  // Codes and grids in stored order, as rows [first, first + rows) of `out`.
  void store(QuantizedTensor& out, int64_t first) const {
    std::vector<uint8_t> row(size_t(cols_), 0);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t k = 0; k < cols_; ++k)
        row[size_t(feedback_.order[size_t(k)])] = codes_[size_t(r * cols_ + k)];
      out.set_codes(first + r, row);
      for (int64_t g = 0; g < out.groups(); ++g) {
        const int64_t stored = feedback_.order[size_t(g * group_)] / group_;
        set_grid(out, first + r, stored, grid(r, g));
        if (!outers_.empty()) set_outer(out, first + r, stored, outers_[size_t(r * out.groups() + g)]);
      }
    }
  }

 private:
  const GroupGrid& grid(int64_t r, int64_t g) const { return grids_[size_t(r * (cols_ / group_) + g)]; }
  GroupGrid& grid(int64_t r, int64_t g) { return grids_[size_t(r * (cols_ / group_) + g)]; }

  std::span<const float> importance(int64_t first, int64_t count) const {
    return importance_.empty() ? importance_ : importance_.subspan(size_t(first), size_t(count));
  }

  // The outer scale of the group that begins at column j. It is chosen when the first of the columns under it
  // comes up, on all of them as they are by then. (Blocks of columns begin where super-blocks do, so nothing
  // is owed to them.)
  OuterGrid outer(const float* w, int64_t r, int64_t j) {
    if (outers_.empty()) return {};
    const int64_t size = options_.scheme.outer_size(cols_);
    OuterGrid* here = &outers_[size_t(r * (cols_ / group_) + j / group_)];
    *here = j % size != 0 ? here[-1]
                          : choose_outer(options_.scheme, group_, {w + j, size_t(size)}, importance(j, size),
                                         options_.search, kHeadRoom);
    return *here;
  }

  void round_row(int64_t r, int64_t begin, int64_t end) {
    float* w = weights_.data() + r * cols_;
    for (int64_t j = begin; j < end; ++j) {
      GroupGrid& current = grid(r, j / group_);
      if (j % group_ == 0)
        current = choose_grid(options_.scheme, {w + j, size_t(group_)}, importance(j, group_),
                              options_.search, outer(w, r, j), options_.least_zero);
      const uint8_t code = round_to_code(options_.scheme, current, w[j]);
      const float* u = upper_.row(j);
      const float error = (w[j] - code_value(options_.scheme, current, code)) / u[j];
      for (int64_t k = j + 1; k < end; ++k) w[k] -= error * u[k];
      codes_[size_t(r * cols_ + j)] = code;
      errors_[size_t(r * kColumns + j - begin)] = error;
    }
  }

  // The errors of columns [begin, end) reach all columns behind them.
  void feed_back(int64_t begin, int64_t end) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(kRows), int(cols_ - end), int(end - begin), -1,
                errors_.data(), int(kColumns), upper_.row(begin) + end, int(upper_.stride), 1,
                weights_.data() + end, int(cols_));
  }

  const GptqOptions& options_;
  const Feedback& feedback_;
  std::span<const float> importance_;  // in rounding order, as everything below
  MatrixView<const float> upper_;
  int64_t rows_, cols_, group_;
  std::vector<float> weights_;  // [kRows, cols], fed back
  std::vector<float> errors_;   // [kRows, kColumns] of the current block of columns
  std::vector<uint8_t> codes_;
  std::vector<GroupGrid> grids_;
  std::vector<OuterGrid> outers_;  // one for each group; empty for flat stores
};

class Gptq final : public Quantizer {
 public:
  explicit Gptq(const GptqOptions& options) : options_(options) {}

  unsigned needs() const override { return kNeedHessian; }

  QuantizeResult quantize(MatrixView<const float> target, const InputStats& stats) const override {
    require_finite(target);
    if (stats.hessian.empty() || stats.width() != target.cols)
      throw Error(fmt::format("gptq has statistics of {} inputs{}; expected {} with a hessian", stats.width(),
                              stats.hessian.empty() ? " without a hessian" : "", target.cols));
    QuantizeResult result{.weight = QuantizedTensor(options_.scheme, target.rows, target.cols), .notes = {}};
    const int64_t group = options_.scheme.group_size(target.cols);
    const GroupSpans groups{group, options_.scheme.super_blocks() ? kSuperBlock : group};
    const Feedback feedback = make_feedback(stats.hessian.matrix(), groups, options_.order, options_.damping);
    result.notes = {.damping = feedback.damping,
                    .damping_raises = feedback.damping_raises,
                    .dead_columns = std::count(feedback.dead.begin(), feedback.dead.end(), true)};
    const std::vector<float> importance = grid_importance(feedback, options_.scale_weights);

    const OneBlasThread one_blas_thread;
    parallel_for((target.rows + kRows - 1) / kRows, [&](int64_t task) {
      const int64_t first = task * kRows, count = std::min(kRows, target.rows - first);
      RowBlock block(options_, feedback, importance, target.slice_rows(first, count));
      block.round_all();
      block.store(result.weight, first);
    });
    return result;
  }

 private:
  GptqOptions options_;
};

}  // namespace

std::unique_ptr<Quantizer> make_gptq(const QuantScheme& scheme, const Options& options) {
  GptqOptions chosen{.scheme = scheme};
  chosen.damping = options.number("damp", chosen.damping, 0, 1);
  chosen.order =
      choice<ColumnOrder>(options, "order", {{"group", ColumnOrder::group}, {"none", ColumnOrder::none}});
  chosen.scale_weights = choice<ScaleWeights>(options, "scale_weights",
                                              {{"feedback", ScaleWeights::feedback},
                                               {"hessian", ScaleWeights::hessian},
                                               {"none", ScaleWeights::none}});
  chosen.search =
      choice<GridSearch>(options, "search", {{"mse", GridSearch::mse}, {"none", GridSearch::none}});
  chosen.least_zero = least_zero_option(options);
  return std::make_unique<Gptq>(chosen);
}

}  // namespace edgeq

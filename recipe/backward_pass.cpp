// SPDX-License-Identifier: Apache-2.0
#include "recipe/backward_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/random.h"
#include "recipe/head_pieces.h"

namespace edgeq {
namespace {

// Logits -> probabilities with a common factor; returns their sum.
double exponentiate(float* row, int64_t count) {
  const float top = *std::max_element(row, row + count);
  double sum = 0;
  for (int64_t v = 0; v < count; ++v) sum += double(row[v] = std::exp(row[v] - top));
  return sum;
}

// The gradient of log p(token), from probabilities that add up to `sum`.
void likelihood_gradient(float* row, int64_t count, double sum, int64_t token) {
  for (int64_t v = 0; v < count; ++v) row[v] = float(-double(row[v]) / sum);
  row[token] += 1;
}

}  // namespace

BackwardPass::BackwardPass(const BlockwiseModel& model, const BackwardModel& backward, const Windows& windows,
                           const Ends& ends, std::string step, const Progress& progress)
    : backward_(backward),
      ends_(ends),
      step_(std::move(step)),
      progress_(progress),
      blocks_(int(model.config().layers.size())),
      walk_(model, windows, ends) {
  for (int b = 0; b < blocks_; ++b) {
    check_interrupt();
    std::vector<Tensor>& hidden = entering_.emplace_back();
    for (const State& state : walk_.states()) hidden.push_back(state.hidden);
    walk_.pass(model.load(b));
    report_progress(progress_, fmt::format("{}: forward", step_), b + 1, blocks_);
  }
}

void BackwardPass::through_head(const WindowLoss& loss, const HeadSeen& seen) {
  gradients_.assign(walk_.states().size(), Tensor());
  parallel_for(std::ssize(gradients_), [&](int64_t w) {
    const Tensor& hidden = walk_.states()[size_t(w)].hidden;
    Tensor& gradient = gradients_[size_t(w)] = Tensor(DType::f32, hidden.shape());
    for_each_head_piece(hidden, [&](int64_t first, const Tensor& rows) {
      const HeadGradients got =
          backward_.through_head(ends_, rows, [&](MatrixView<float> logits) { loss(w, first, logits); });
      std::copy_n(got.hidden.f32(), rows.size(), gradient.matrix().row(first));
      if (seen) seen(w, got.site);
    });
  });
}

std::vector<Tensor> BackwardPass::through_block(const Block& block, const BlockSeen& seen) {
  check_interrupt();
  const std::vector<Tensor>& entering = entering_[size_t(block.index)];
  parallel_for(std::ssize(gradients_), [&](int64_t w) {
    BlockGradients got = backward_.through_block(block, entering[size_t(w)], gradients_[size_t(w)],
                                                 SiteGradients::outputs, Products::f32);
    seen(w, entering[size_t(w)], got);
    gradients_[size_t(w)] = std::move(got.hidden);
  });
  report_progress(progress_, fmt::format("{}: back", step_), blocks_ - block.index, blocks_);
  return std::move(entering_[size_t(block.index)]);
}

void drawn_token_gradient(MatrixView<float> logits, Random& random) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    float* row = logits.row(t);
    const double sum = exponentiate(row, logits.cols);
    double left = random.uniform() * sum;
    int64_t drawn = 0;
    while (drawn + 1 < logits.cols && (left -= double(row[drawn])) >= 0) ++drawn;
    likelihood_gradient(row, logits.cols, sum, drawn);
  }
}

void next_token_gradient(MatrixView<float> logits, std::span<const TokenId> next) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    float* row = logits.row(t);
    if (next[size_t(t)] < 0) {
      std::fill_n(row, logits.cols, 0.0f);
      continue;
    }
    likelihood_gradient(row, logits.cols, exponentiate(row, logits.cols), next[size_t(t)]);
  }
}

}  // namespace edgeq

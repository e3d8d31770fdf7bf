// SPDX-License-Identifier: Apache-2.0
// Windows that walk through a float model and a loss's gradient that comes back, one block at a time: what
// sensitivities and gates are measured along. Memory is the residual stream that entered every block, for all
// windows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"
#include "models/gradients.h"
#include "recipe/walk.h"

namespace edgeq {

class BackwardPass {
 public:
  // Walks the windows to behind the last block; `step` names the work in progress reports. All outlive it.
  BackwardPass(const BlockwiseModel& model, const BackwardModel& backward, const Windows& windows,
               const Ends& ends, std::string step, const Progress& progress);

  int blocks() const { return blocks_; }
  // The windows where the way forward ended.
  Walk& walk() { return walk_; }
  // The gradient of the residual stream where the way back stands, of each window.
  const std::vector<Tensor>& gradients() const { return gradients_; }

  // logits: some tokens of a window in order, the first being `first`; becomes the loss's gradient.
  using WindowLoss = std::function<void(int64_t window, int64_t first, MatrixView<float> logits)>;
  // What arrived at the outputs of the head, of those tokens.
  using HeadSeen = std::function<void(int64_t window, const Tensor& gradient)>;
  // Both are called for several windows at once, for the tokens of one in order.
  void through_head(const WindowLoss& loss, const HeadSeen& seen);

  // From behind block `block.index` to before it. `seen` is called for several windows at once, while
  // gradients() still stand behind the block.
  using BlockSeen =
      std::function<void(int64_t window, const Tensor& entering, const BlockGradients& gradients)>;
  // Returns the residual streams that entered the block, which are needed no more.
  std::vector<Tensor> through_block(const Block& block, const BlockSeen& seen);

 private:
  const BackwardModel& backward_;
  const Ends& ends_;
  std::string step_;
  const Progress& progress_;
  int blocks_;
  Walk walk_;
  std::vector<std::vector<Tensor>> entering_;  // [block][window]
  std::vector<Tensor> gradients_;              // [window]
};

// Losses on the logits of a window: their gradients in the place of the logits.
// The log likelihood of one token drawn from each prediction: E g g^T is the Fisher information.
class Random;
void drawn_token_gradient(MatrixView<float> logits, Random& random);
// The log likelihood of the tokens that follow in the text, next[t] after token t; -1: not known.
void next_token_gradient(MatrixView<float> logits, std::span<const TokenId> next);

}  // namespace edgeq

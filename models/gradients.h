// SPDX-License-Identifier: Apache-2.0
// What needs automatic differentiation, as an interface: the gradient of a loss on the logits on its way back
// through a decoder, one block at a time, so that memory is one block and one window. The caller keeps the
// residual stream that entered each block; what lies inside is computed again.
// Weights are not differentiated: what arrives at the outputs y = W x of a site, [tokens, out], is handed
// out, and the gradient of its weight is the sum over tokens of dy x^T.
#pragma once

#include <functional>
#include <vector>

#include "core/tensor.h"
#include "models/block.h"

namespace edgeq {

// In: the logits of some tokens [tokens, vocab]. Out, in their place: the gradient of the loss with respect
// to them.
using LossGradient = std::function<void(MatrixView<float> logits)>;

struct HeadGradients {
  Tensor hidden;  // [tokens, hidden], of the residual stream after the last block
  Tensor site;    // [tokens, vocab], at the outputs of the head
};

struct BlockGradients {
  Tensor hidden;              // [tokens, hidden], of the residual stream that enters the block
  std::vector<Tensor> sites;  // [tokens, out] each, at the outputs of Block::sites
};

// Const and thread-safe: many windows go back at once.
class BackwardModel {
 public:
  virtual ~BackwardModel() = default;
  // hidden [tokens, hidden]: the residual stream after the last block, of any tokens.
  virtual HeadGradients through_head(const Ends& ends, const Tensor& hidden,
                                     const LossGradient& loss) const = 0;
  // hidden: the residual stream that enters the block, of a whole window; gradient: of the one that leaves
  // it. Both [tokens, hidden].
  virtual BlockGradients through_block(const Block& block, const Tensor& hidden,
                                       const Tensor& gradient) const = 0;
};

}  // namespace edgeq

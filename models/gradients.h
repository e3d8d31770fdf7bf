// SPDX-License-Identifier: Apache-2.0
// What needs automatic differentiation, as an interface: the gradient of a loss on the logits on its way back
// through a decoder, one block at a time, so that memory is one block and one window. The caller keeps the
// residual stream that entered each block; what lies inside is computed again.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"
#include "models/block.h"

namespace edgeq {

// In: the logits of some tokens [tokens, vocab]. Out, in their place: the gradient of the loss with respect
// to them.
using LossGradient = std::function<void(MatrixView<float> logits)>;

struct HeadGradients {
  Tensor hidden;               // [tokens, hidden], of the residual stream after the last block
  Tensor site;                 // [tokens, vocab], at the outputs of the head
  std::vector<Tensor> others;  // of Ends::others; empty for what is read before the blocks
};

// What is handed out of a block's sites y = W x: what arrives at their outputs, dy, or what comes of it for
// their weights, the sum over tokens of dy x^T.
enum class SiteGradients : uint8_t { outputs, weights };

// How a block multiplies. bf16: operands and results rounded, sums in f32, where the CPU has instructions for
// it, some ten times as fast; f32 elsewhere. Its noise is small beside that of a few windows.
enum class Products : uint8_t { f32, bf16 };

struct BlockGradients {
  Tensor hidden;               // [tokens, hidden], of the residual stream that enters the block
  std::vector<Tensor> sites;   // of Block::sites: [tokens, out] or [out, in]
  std::vector<Tensor> others;  // of Block::others
};

// Const and thread-safe: many windows go back at once.
class BackwardModel {
 public:
  virtual ~BackwardModel() = default;
  // hidden [tokens, hidden]: the residual stream after the last block, of any tokens. Returns [tokens,
  // vocab], in f32.
  virtual Tensor logits(const Ends& ends, const Tensor& hidden) const = 0;
  // The same hidden, and its way back.
  virtual HeadGradients through_head(const Ends& ends, const Tensor& hidden,
                                     const LossGradient& loss) const = 0;
  // The residual stream that leaves a block which `hidden` enters, as through_block computes it again.
  virtual Tensor leaving(const Block& block, const Tensor& hidden, Products products) const = 0;
  // hidden: the residual stream that enters the block, of a whole window; gradient: of the one that leaves
  // it. Both [tokens, hidden].
  virtual BlockGradients through_block(const Block& block, const Tensor& hidden, const Tensor& gradient,
                                       SiteGradients of, Products products) const = 0;
};

}  // namespace edgeq

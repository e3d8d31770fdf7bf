// SPDX-License-Identifier: Apache-2.0
// A float model that can be walked stage by stage: what calibration and the main loop need, and nothing more.
// Const and thread-safe: many windows walk at once, each with its own State.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.h"
#include "models/block.h"
#include "models/config.h"
#include "models/token.h"

namespace edgeq {

// Where one window stands in the walk. Plain floats, so that it can be spilled to a file.
struct State {
  Tensor hidden;  // residual stream [tokens, hidden]
  Tensor input;   // what the sites of the current stage read [tokens, in]
};

class BlockwiseModel {
 public:
  virtual ~BlockwiseModel() = default;
  virtual const ModelConfig& config() const = 0;

  // Read from the checkpoint at each call (f32); only what is returned stays in memory.
  virtual Ends ends() const = 0;
  virtual Block load(int block) const = 0;

  // The walk: begin -> for each block: enter, then step over its stages -> finish.
  virtual State begin(std::span<const TokenId> window,
                      const Ends& ends) const = 0;                 // hidden = embedded tokens
  virtual void enter(const Block& block, State& state) const = 0;  // input = what stage 0 reads
  // From stage `stage`'s input to the next one's; after the last stage only `hidden` is valid.
  virtual void step(const Block& block, int stage, State& state) const = 0;
  virtual void finish(const Ends& ends, State& state) const = 0;  // input = what the head reads
};

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// All calibration windows walking through a model in step, in parallel over windows: once, or twice side by
// side through the float model and through what has become of it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibration/observer.h"
#include "calibration/stats.h"
#include "models/activations.h"
#include "models/blockwise_model.h"
#include "models/corpus.h"

namespace edgeq {

class Walk {
 public:
  // The windows enter the model at its embedding table.
  Walk(const BlockwiseModel& model, const Windows& windows, const Ends& ends);

  // Windows that stand before a block, with these residual streams.
  Walk(const BlockwiseModel& model, std::vector<Tensor> hidden);

  void enter(const Block& block);
  void step(const Block& block, int stage);
  void pass(const Block& block);  // enter and all steps
  void finish(const Ends& ends);
  // Of the current stage. Returns the scale of int8_static, which `observer` chooses, and otherwise 0.
  float round_inputs(Activations activations, Observer observer);
  void keep_columns(std::span<const int64_t> columns);  // of the current stage's input, in this order
  // Of the inputs that the current stage reads, over all windows in order.
  InputStats stats(unsigned needs) const;
  std::span<const State> states() const { return states_; }

 private:
  const BlockwiseModel& model_;
  std::vector<State> states_;
};

// The compressed model's walk and, when something needs it, the float model's beside it.
class Streams {
 public:
  enum class Count : uint8_t { one, two };
  // ends: the compressed ones; those of the float model are read again.
  Streams(const BlockwiseModel& model, const Windows& windows, const Ends& ends, Count count);

  // original: the float block; block: what has become of it so far.
  void enter(const Block& original, const Block& block);
  void step(const Block& original, const Block& block, int stage);
  void finish(const Ends& ends);  // both models have the same final norm
  // A block that only the float model has.
  void leave_out(const Block& original);
  // Of the current stage's input in the compressed model: what is left when its makers are cut.
  void keep_columns(std::span<const int64_t> columns) { now_.keep_columns(columns); }
  // Of the current stage of the compressed model: what it reads when it runs.
  float round_inputs(Activations activations, Observer observer) {
    return now_.round_inputs(activations, observer);
  }
  // Of the inputs that the stages of the block to come will read in the compressed model, were it not
  // compressed itself. The streams stay where they are, before the block.
  std::vector<InputStats> look_ahead(const Block& block, unsigned needs) const;
  // Of the inputs that the current stage of the compressed model reads. adds_to_hidden: as in Stage.
  InputStats stats(unsigned needs, bool adds_to_hidden) const;

 private:
  Walk now_;
  std::optional<Walk> reference_;
};

std::string stage_name(const Block& block, int stage);  // "layers.3.qkv"

}  // namespace edgeq

// SPDX-License-Identifier: Apache-2.0
// A transform rewrites the float weights of a block so that they round better, and the block still computes
// what it did, but for the rounding of floats. It runs before anything of the block is quantized. Stateless,
// const, no input or output; thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibration/stats.h"
#include "core/quant_scheme.h"
#include "models/block.h"
#include "models/config.h"

namespace edgeq {

// What is known of a block besides its weights.
struct BlockFacts {
  const ModelConfig& config;
  std::span<const InputStats> stats;                    // of each stage's input, by the block as it is
  std::span<const std::optional<QuantScheme>> schemes;  // of each site; none: it stays float
};

class Transform {
 public:
  virtual ~Transform() = default;
  // Need flags: statistics that apply() reads, of every stage.
  virtual unsigned needs() const = 0;
  // What of models of this config it leaves as it is, in clauses; empty for Llamas. Throws Error when it has
  // no place in them.
  virtual std::vector<std::string> leaves(const ModelConfig& config) const = 0;
  // Throws Error naming the site when a weight is not finite.
  virtual void apply(Block& block, const BlockFacts& facts) const = 0;
};

}  // namespace edgeq

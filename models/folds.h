// SPDX-License-Identifier: Apache-2.0
// Where the channels of a block can be rescaled without changing what the block computes: whatever makes an
// input is linear in its channel, so that
//   made by 1/s, read by s:   W x = (W diag(s)) (diag(1/s) x)
// The makers are norm gains (and biases) for q, k, v and for gate, up; rows of v for o, each shared by the
// query heads of its group; rows of up for down where up is a factor of the gated product.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/block.h"
#include "models/config.h"

namespace edgeq {

struct Fold {
  int stage = 0;                           // whose input it is (of several readers, the first's)
  std::vector<int> readers;                // sites that read it, all of them
  std::vector<int> vectors;                // Block::others that make it: a norm's gain and bias; or
  int producer = -1;                       // the site whose rows do
  std::vector<int64_t> channel_of_column;  // of the readers; several columns may share a channel
  int64_t channels = 0;                    // rows of the producer, or the norm's width
};

// Those that the block has, later stages first: scaling one changes what an earlier one reads of its weights.
std::vector<Fold> folds_of(const ModelConfig& config, const Block& block);

// The stages of a block whose input cannot be rescaled, and why: "down reads through a nonlinearity". Empty
// for Llamas.
std::vector<std::string> unfoldable(const ModelConfig& config);

// Readers' columns times s, makers by s. scales [channels], finite and above 0.
void scale_channels(Block& block, const Fold& fold, std::span<const float> scales);

}  // namespace edgeq

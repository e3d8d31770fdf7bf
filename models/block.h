// SPDX-License-Identifier: Apache-2.0
// One decoder block as the compressor sees it: linear layers ("sites") and the order in which they read their
// inputs
// ("stages"). It owns its tensors (f32): a copy is a candidate.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace edgeq {

// A linear layer: y = weight x + bias. weight [out, in] f32; bias [out] f32 or empty.
struct Site {
  std::string name;  // "layers.3.mlp.down_proj"
  Tensor weight, bias;
};

// Sites that read one and the same input. Stages of a decoder block, in order: qkv, o, gate_up (up where
// there is no gate), down.
struct Stage {
  std::string name;
  std::vector<int> sites;       // indices into Block::sites
  bool adds_to_hidden = false;  // what its sites give is added to the residual stream as it is
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

struct Block {
  int index = 0;
  std::vector<Site> sites;
  std::vector<Stage> stages;
  std::vector<NamedTensor> others;  // norms (their biases too), always float
};

// What is not in a block. The head of a tied model is the embedding: `head.weight` is then empty.
struct Ends {
  Site embedding;                   // weight [vocab, hidden]
  std::vector<NamedTensor> others;  // final_norm (its bias too), learned positions; always float
  Site head;                        // weight [vocab, hidden], or empty when tied
  const Site& head_site() const { return head.weight.empty() ? embedding : head; }
};

}  // namespace edgeq

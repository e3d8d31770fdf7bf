// SPDX-License-Identifier: Apache-2.0
// Which tensors a config calls for, and their shapes: the one list that reading, packing, planning and
// exporting share. In the order of the forward pass.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/config.h"

namespace edgeq {

// A weight matrix [rows = out, cols = in].
struct SiteShape {
  std::string name;
  int64_t rows = 0, cols = 0;
  bool bias = false;  // a vector "<name>.bias" of `rows` floats belongs to it
  friend bool operator==(const SiteShape&, const SiteShape&) = default;
};
// Values that stay float: norms, biases, and the table of learned positions row by row.
struct VectorShape {
  std::string name;
  int64_t size = 0;
  int64_t cols = 0;  // not 0: checkpoints keep it as a matrix of so many columns
  friend bool operator==(const VectorShape&, const VectorShape&) = default;
};

// q, k, v, o, gate (where there is one), up, down of one layer.
std::vector<SiteShape> layer_sites(const ModelConfig& config, int64_t layer);
// embedding, the layers' sites, head (absent when tied).
std::vector<SiteShape> all_sites(const ModelConfig& config);
// Norm gains (and biases) of one layer, those that the model has: attn_norm, attn.q_norm and attn.k_norm,
// attn_post_norm, mlp_norm, mlp_post_norm.
std::vector<VectorShape> layer_norms(const ModelConfig& config, int64_t layer);
// What is float outside of the layers: final_norm (and its bias), positions where they are learned.
std::vector<VectorShape> end_vectors(const ModelConfig& config);
// Every vector of the model: those of the layers, their sites' biases, those of the ends.
std::vector<VectorShape> all_vectors(const ModelConfig& config);

}  // namespace edgeq

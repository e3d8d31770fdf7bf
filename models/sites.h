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
struct VectorShape {
  std::string name;
  int64_t size = 0;
  friend bool operator==(const VectorShape&, const VectorShape&) = default;
};

// q, k, v, o, gate, up, down of one layer.
std::vector<SiteShape> layer_sites(const ModelConfig& config, int64_t layer);
// embedding, the layers' sites, head (absent when tied).
std::vector<SiteShape> all_sites(const ModelConfig& config);
// Norm gains of one layer (attn_norm, q_norm and k_norm when the model has them, mlp_norm).
std::vector<VectorShape> layer_norms(const ModelConfig& config, int64_t layer);
// Every vector of the model: norms and biases.
std::vector<VectorShape> all_vectors(const ModelConfig& config);

}  // namespace edgeq

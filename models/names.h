// SPDX-License-Identifier: Apache-2.0
// edgeq's own names of sites and other tensors, and where each lies in Hugging Face and GGUF checkpoints.
//   ends:       embedding  positions  final_norm  head
//   block 3:    layers.3.attn_norm  layers.3.attn.{q,k,v,o}_proj  layers.3.attn.{q,k}_norm
//               layers.3.mlp_norm   layers.3.mlp.{gate,up,down}_proj   layers.3.{attn,mlp}_post_norm
// Biases are named with ".bias" appended.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/tensor.h"
#include "models/config.h"

namespace edgeq {

enum class Naming : uint8_t { hf, gguf };

// Where a tensor of ours lies in a checkpoint: in rows of a stored tensor that may hold others as well.
struct Placement {
  std::string name;                       // of the stored tensor
  int64_t first_row = 0, total_rows = 0;  // our first row there, and how many it has
  int64_t head_dim = 0, head_stride = 0;  // not 0: rows from one head to the next, in ours and there
  bool interleaved = false;               // rows of a head in rotary order 2i, 2i+1 in place of i, i + d/2
  bool transposed = false;                // stored as [in, out]
  float offset = 0;                       // added to each stored value

  bool reordered() const { return head_dim != 0; }
  int64_t stored_row(int64_t row) const;  // of our row
  Shape stored_shape(const Shape& ours) const;
};

// `site` with a ".bias" suffix is a bias; `rows` are those of ours. Throws Error for a name that is no
// tensor of a decoder.
Placement placement(const ModelConfig& config, std::string_view site, int64_t rows, Naming naming);

// Only the name: "layers.3.mlp.down_proj" -> "model.layers.3.mlp.down_proj.weight" | "blk.3.ffn_down.weight".
std::string checkpoint_name(std::string_view site, Naming naming, std::string_view family);

std::string layer_site(int64_t layer, std::string_view part);  // (3, "mlp.down_proj")
// The inverse, of a name that begins so: "layers.3.mlp.down_proj" -> "mlp.down_proj".
std::string_view part_in_layer(std::string_view name);

}  // namespace edgeq

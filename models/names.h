// SPDX-License-Identifier: Apache-2.0
// edgeq's own names of sites and other tensors, and their names in Hugging Face and GGUF checkpoints.
//   ends:       embedding  final_norm  head
//   block 3:    layers.3.attn_norm  layers.3.attn.{q,k,v,o}_proj  layers.3.attn.{q,k}_norm
//               layers.3.mlp_norm   layers.3.mlp.{gate,up,down}_proj
// Biases are named with ".bias" appended.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace edgeq {

enum class Naming : uint8_t { hf, gguf };

// "layers.3.mlp.down_proj" -> "model.layers.3.mlp.down_proj.weight" | "blk.3.ffn_down.weight"; a ".bias"
// suffix is kept.
std::string checkpoint_name(std::string_view site, Naming naming);
// The inverse; nullopt for a tensor that is not one of ours.
std::optional<std::string> site_name(std::string_view checkpoint_name, Naming naming);

std::string layer_site(int64_t layer, std::string_view part);  // (3, "mlp.down_proj")

}  // namespace edgeq

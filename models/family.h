// SPDX-License-Identifier: Apache-2.0
// The families of decoders that edgeq knows. A family is data: a setting of ModelConfig's choices, and the
// names and places of its tensors in Hugging Face and GGUF checkpoints. How one is added:
// docs/architecture.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "models/config.h"

namespace edgeq {

// How several matrices of ours lie in one stored matrix.
enum class Fusion : uint8_t {
  none,
  stacked,   // one behind the other: q, k, v; gate, up
  per_head,  // q, k and v of a head, then of the next (GPT-NeoX)
};

// A tensor by edgeq's name and by those of the formats, without the layer's prefix and without ".weight".
struct NameRow {
  std::string_view ours, hf, gguf;
  Fusion hf_fusion = Fusion::none, gguf_fusion = Fusion::none;
};

struct Family {
  std::string_view name;  // ModelConfig::family, and general.architecture of a GGUF file
  // The choices that all models of the family share. Called when `hidden` is set.
  void (*set)(ModelConfig&) = [](ModelConfig&) {};
  std::span<const NameRow> names{};     // where they differ from Llama's
  std::string_view hf_root = "model.";  // before all names but the head's; may be missing in a file
  std::string_view hf_layers = "layers.";
  float hf_gain_offset = 0;       // added to the norm gains of a Hugging Face file
  bool hf_transposed = false;     // which keeps the matrices of the layers as [in, out]
  bool gguf_interleaved = false;  // GGUF keeps rows of q and k in interleaved rotary order
};

// nullptr for a family that is not known.
const Family* find_family(std::string_view name);
const Family& family_of(const ModelConfig& config);  // config.family is known
std::vector<std::string_view> family_names();

// ModelConfig::attention_scale as llama.cpp takes it from the architecture and the size of a model.
double gguf_attention_scale(const ModelConfig& config);

// The names that all families without a row of their own have.
std::span<const NameRow> common_ends();   // embedding, positions, final_norm, head
std::span<const NameRow> common_parts();  // of a layer

}  // namespace edgeq

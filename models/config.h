// SPDX-License-Identifier: Apache-2.0
// What a decoder model is, in numbers: one value that both checkpoint formats are read into, and that both
// engines build from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgeq {

class GgufFile;

// One per layer from the first day: pruned models differ from layer to layer.
struct LayerShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0, ffn = 0;
  int64_t window = 0;  // sliding attention window in tokens, 0 = full attention
  friend bool operator==(const LayerShape&, const LayerShape&) = default;
};

struct ModelConfig {
  std::string family;  // "llama" (also SmolLM2, Mistral), "qwen2", "qwen3"
  std::string name;    // as the checkpoint calls itself; may be empty
  int64_t hidden = 0, vocab = 0, context = 0;
  std::vector<LayerShape> layers;
  double rms_epsilon = 1e-5;
  // Rotary embedding over the whole head in half-split order: dimension i pairs with i + head_dim/2; the
  // angle at position t is t * theta^(-2i/head_dim) / rope_divisors[i]. Empty divisors mean ones; linear
  // scaling and Llama-3 scaling are divisors.
  double rope_theta = 10000;
  std::vector<float> rope_divisors;  // empty, or head_dim/2
  bool tied_head = false;            // the head is the embedding table
  bool qkv_bias = false;             // q, k and v have biases (Qwen2)
  bool o_bias = false, mlp_bias = false;
  bool qk_norm = false;  // RMS norm over each head of q and k, before the rotation (Qwen3)

  int64_t weight_count()
      const;  // parameters in linear layers and tables (norms and biases left out), a tied table once
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Reads a Hugging Face config.json. Throws Error for an unknown architecture (listing the known), a missing
// or absurd value, or a feature that would change results and is not supported.
ModelConfig parse_hf_config(std::string_view json_text);
ModelConfig read_gguf_config(const GgufFile& file);

// Throws Error when a value is out of range or values contradict each other. Both readers call it.
void validate(const ModelConfig& config);

// The config as JSON text in edgeq's own form (packed files), and back.
std::string config_to_json(const ModelConfig& config);
ModelConfig config_from_json(std::string_view json_text);

}  // namespace edgeq

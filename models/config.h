// SPDX-License-Identifier: Apache-2.0
// What a decoder model is, in numbers and small choices: one value that all checkpoint formats are read into,
// and that both engines build from. A family is a setting of it (models/family.h); the defaults are Llama's.
//
// For one token at position t, over the residual stream x (Vaswani et al. 2017; Llama: arXiv 2302.13971):
//   x = embedding_scale * embedding[token]                         + positions[t] where they are learned
//   x = x + residual_scale * post(o(attend(pre(x))))               attention
//   x = x + residual_scale * post(down(act(gate(n)) * up(n)))      n = pre(x); without a gate, act(up(n))
//   logits = cap(head(norm(x)) / logit_divisor)                    cap(s) = soft_cap * tanh(s / soft_cap)
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

enum class NormKind : uint8_t {
  rms,    // x / sqrt(mean(x^2) + epsilon) * gain
  layer,  // (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * gain + bias
};
// silu(x) = x / (1 + e^-x). gelu(x) = x * Phi(x): with the error function, or by the tanh approximation
// x / (1 + e^-2u), u = sqrt(2 / pi) * (x + 0.044715 x^3) (arXiv 1606.08415).
enum class Nonlinearity : uint8_t { silu, gelu_tanh, gelu_erf };
enum class Residual : uint8_t {
  sequential,       // the feed-forward reads what attention has been added to
  parallel,         // both read the block's input, each through a norm of its own (GPT-NeoX)
  parallel_shared,  // both read the block's input through attention's norm (StableLM 2 12B)
};

struct ModelConfig {
  std::string family;  // a name of models/family.h: "llama" (also SmolLM2, Mistral), "qwen2", "gemma3", ...
  std::string name;    // as the checkpoint calls itself; may be empty
  int64_t hidden = 0, vocab = 0, context = 0;
  std::vector<LayerShape> layers;

  NormKind norm = NormKind::rms;
  double norm_epsilon = 1e-5;
  bool pre_norm = true;    // attention and feed-forward read through a norm; not so in OLMo 2
  bool post_norm = false;  // what they give goes through a norm before it is added (Gemma, OLMo 2)
  Residual residual = Residual::sequential;

  // Rotary embedding of the first `rotary_dims` dimensions of each head (0: all) in half-split order:
  // dimension i pairs with i + rotary_dims/2; the angle at position t is
  // t * theta^(-2i/rotary_dims) / rope_divisors[i]. Empty divisors mean ones; linear scaling and Llama-3
  // scaling are divisors. rope_of() says it for one layer.
  int64_t rotary_dims = 0;
  double rope_theta = 10000;
  double local_rope_theta = 0;       // not 0: theta of layers with a window, which have no divisors (Gemma 3)
  std::vector<float> rope_divisors;  // empty, or rotary_dims/2
  // LongRoPE (arXiv 2402.13753): these divisors where a sequence has room for more than original_context
  // tokens; sines and cosines are multiplied by rope_scale, however long it is.
  std::vector<float> long_rope_divisors;  // empty, or rotary_dims/2
  int64_t original_context = 0;           // not 0 with long_rope_divisors
  double rope_scale = 1;
  bool learned_positions = false;  // a table of `context` rows in place of the rotation (GPT-2)

  bool tied_head = false;      // the head is the embedding table
  bool qkv_bias = false;       // q, k and v have biases (Qwen2)
  bool o_bias = false;         // the output of attention has one
  bool mlp_bias = false;       // gate, up and down have them
  bool gated_mlp = true;       // false: up, act, down (GPT-2)
  bool qk_norm = false;        // RMS norm over each head of q and k, before the rotation (Qwen3)
  bool joint_qk_norm = false;  // the same, over all heads together (OLMo 2)
  Nonlinearity nonlinearity = Nonlinearity::silu;

  double embedding_scale = 1, residual_scale = 1, logit_divisor = 1;
  double attention_scale = 0;                         // of q . k; 0: 1 / sqrt(head_dim)
  double attention_soft_cap = 0, logit_soft_cap = 0;  // 0: none (Gemma 2)

  int64_t weight_count()
      const;  // parameters in linear layers and tables (norms and biases left out), a tied table once
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// How the queries and keys of one layer are rotated, in a sequence that has room for `tokens` tokens.
struct Rope {
  int64_t dims = 0;  // of each head, the first; 0: no rotation
  double theta = 0;
  std::vector<float> divisors{};  // empty, or dims/2
  double scale = 1;               // of sines and cosines
  friend bool operator==(const Rope&, const Rope&) = default;
};
Rope rope_of(const ModelConfig& config, const LayerShape& layer, int64_t tokens);

// Of q . k before the softmax (and before the soft cap).
double attention_scale_of(const ModelConfig& config, const LayerShape& layer);

// Reads a Hugging Face config.json. Throws Error for an unknown architecture (listing the known), a missing
// or absurd value, or a feature that would change results and is not supported.
ModelConfig parse_hf_config(std::string_view json_text);
ModelConfig read_gguf_config(const GgufFile& file);

// Throws Error when a value is out of range or values contradict each other. Both readers call it.
void validate(const ModelConfig& config);

// The config as JSON text in edgeq's own form (packed files), and back. Fields that have Llama's value are
// left out where the first version of the format did not have them; a field that this build does not know is
// an Error.
std::string config_to_json(const ModelConfig& config);
ModelConfig config_from_json(std::string_view json_text);

}  // namespace edgeq
